"""Settings from the environment: one strict base class for every service."""

from configuration.settings import ConfigurationError, ServiceSettings, shared

__all__ = ["ConfigurationError", "ServiceSettings", "shared"]
