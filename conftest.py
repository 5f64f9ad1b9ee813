"""The one conftest: fixtures for real servers come from kit's pytest plugin."""

from hypothesis import settings

pytest_plugins = ["kit.testing"]

# A busy machine is not a test's fault. A test that wants more or fewer examples than others says how many times
# `settings.default.max_examples`.
settings.register_profile("thorough", settings.default, max_examples=100, deadline=None)
#: What `make check` asks for; `make test` and a bare pytest try every example.
settings.register_profile("quick", settings.get_profile("thorough"), max_examples=25)
settings.load_profile("thorough")
