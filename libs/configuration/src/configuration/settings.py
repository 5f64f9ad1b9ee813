"""What every service can be told, read once from the environment and frozen.

``TRUNKLINE_<NAME>`` is shared by all services, ``TRUNKLINE_<SERVICE>_<NAME>`` belongs to one. A name with a
service's prefix that the service does not know is an error: a misspelt setting must not be a silent default.
A secret may come from a file: set ``<NAME>_FILE`` to its path.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo

__all__ = ["ConfigurationError", "ServiceSettings", "shared"]

PREFIX = "TRUNKLINE_"
DEFAULT_SECRETS = frozenset({"demo", "test", "change-me", "password", "secret"})


class ConfigurationError(Exception):
    """What is wrong with the environment, every problem on a line of its own."""


def shared(default: Any, *, description: str = "", **limits: Any) -> Any:
    """A setting that all services read under the same name, ``TRUNKLINE_<NAME>``."""
    return Field(default, description=description, json_schema_extra={"shared": True}, **limits)


class ServiceSettings(BaseModel):
    """The settings every service has. A service adds its own by subclassing with its name:

    ``class Settings(ServiceSettings, service="notifier"): smtp_host: str = "127.0.0.1"``
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    service: ClassVar[str] = ""

    kafka_bootstrap: str = shared("127.0.0.1:17092")
    postgres_dsn: str = shared("postgresql://127.0.0.1:17432/trunkline", description="Without a user: roles are ours.")
    redis_url: str = shared("redis://127.0.0.1:17379/0")
    otlp_endpoint: str | None = shared(None, description="Base address of an OpenTelemetry collector (OTLP over HTTP).")
    demo: bool = shared(False, description="Accept well-known secrets and show demo credentials.")
    log_level: str = shared("INFO")
    bind_host: str = shared("127.0.0.1")
    instance_id: str | None = shared(
        None,
        pattern=r"^[A-Za-z0-9._-]{1,60}$",
        description="Which of several replicas this is, e.g. a pod's ordinal: a restart then moves no partition.",
    )
    niceness: int = shared(
        0, ge=0, le=19, description="How far it lets others on its machine go first: 0 as anything else, 19 always."
    )
    admin_token: SecretStr = shared(SecretStr(""), description="Bearer token of the admin APIs.")

    http_port: int = 0
    app_password: SecretStr = SecretStr("")
    system_password: SecretStr = SecretStr("")
    owner_password: SecretStr = SecretStr("")
    ro_password: SecretStr = SecretStr("")

    def __init_subclass__(cls, *, service: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if service is not None:
            cls.service = service

    @classmethod
    def __pydantic_init_subclass__(cls, *, service: str | None = None, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)

    @classmethod
    def env_name(cls, field: str) -> str:
        """The environment variable that sets a field."""
        extra = cls.model_fields[field].json_schema_extra
        if isinstance(extra, dict) and extra.get("shared"):
            return PREFIX + field.upper()
        return cls._own_prefix() + field.upper()

    @classmethod
    def _own_prefix(cls) -> str:
        return f"{PREFIX}{cls.service.replace('-', '_').upper()}_"

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read the environment. Raises :class:`ConfigurationError` that lists every problem at once."""
        env = os.environ if environ is None else environ
        names = {cls.env_name(field): field for field in cls.model_fields}
        problems = cls._unknown(env, names)
        values: dict[str, str] = {}
        for name, field in names.items():
            value = _value(env, name, cls.model_fields[field], problems)
            if value is not None:
                values[field] = value
        settings: Self | None = None
        try:
            settings = cls.model_validate(values)
        except ValidationError as error:
            for each in error.errors(include_input=False, include_url=False):
                problems.append(f"{cls.env_name(str(each['loc'][0]))}: {each['msg']}")
        if settings is not None:
            problems += settings._default_secrets()
        if problems or settings is None:
            raise ConfigurationError(f"{cls.service} cannot start:\n  " + "\n  ".join(problems))
        return settings

    @classmethod
    def _unknown(cls, env: Mapping[str, str], names: Mapping[str, str]) -> list[str]:
        known = names.keys() | {f"{name}_FILE" for name in names}
        problems = []
        for name in sorted(env):
            if name.startswith(cls._own_prefix()) and name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                problems.append(f"{name} is not a setting of {cls.service}{hint}")
        return problems

    def _default_secrets(self) -> list[str]:
        if self.demo:
            return []
        return [
            f"{self.env_name(field)} is a well-known value; set a secret of your own, or TRUNKLINE_DEMO=true for a demo"
            for field in type(self).model_fields
            if isinstance(secret := getattr(self, field), SecretStr) and secret.get_secret_value() in DEFAULT_SECRETS
        ]

    def described(self) -> dict[str, str]:
        """The effective settings by variable name, secrets masked: what ``config`` commands print."""
        return {self.env_name(field): str(getattr(self, field)) for field in type(self).model_fields}


def _value(env: Mapping[str, str], name: str, info: FieldInfo, problems: list[str]) -> str | None:
    if name in env:
        return env[name]
    path = env.get(f"{name}_FILE")
    if path is None:
        return None
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        problems.append(f"{name}_FILE cannot be read: {error.strerror}")
        return None
