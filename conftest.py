"""The one conftest: fixtures for real servers come from kit's pytest plugin."""

pytest_plugins = ["kit.testing"]
