"""What an operator says of a SIP trunk. Every value ends up in Kamailio's configuration, so each has a narrow form."""

from __future__ import annotations

import re
import tomllib
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints, ValidationError

from trunkline.stack.problems import Problem, quote

__all__ = ["Settings", "read"]

HOOK = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(?:/[A-Za-z0-9._~-]+)*/v1/hooks/kamailio/[A-Za-z0-9_-]{8,}")
TOKEN = re.compile(r"[A-Za-z0-9_.~+/=-]{8,256}")


def _network(value: str) -> str:
    return str(ip_network(value))


def _redis(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme != "redis" or not re.fullmatch(r"[A-Za-z0-9.-]+", parts.hostname or ""):
        raise ValueError("it looks like redis://host:port/0")
    if parts.path.strip("/") and not parts.path.strip("/").isdecimal():
        raise ValueError("its database is a number")
    if parts.username or not re.fullmatch(r"[A-Za-z0-9_.~-]*", parts.password or ""):
        raise ValueError("it takes a password of letters and digits, and no user")
    return value


Number = Annotated[str, StringConstraints(pattern=r"^\+[1-9][0-9]{6,14}$")]
Listen = Annotated[str, StringConstraints(pattern=r"^(udp|tcp):([0-9.]+|\[[0-9a-f:]+\]):[0-9]{1,5}$")]
Place = Annotated[
    str, StringConstraints(pattern=r"^([A-Za-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?(;transport=(udp|tcp))?$")
]
Address = Annotated[
    str,
    StringConstraints(
        pattern=r"^sip:[A-Za-z0-9+._-]{1,64}@([A-Za-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?(;transport=(udp|tcp))?$"
    ),
]
Network = Annotated[str, AfterValidator(_network)]
Code = Annotated[int, Field(ge=400, le=699)]


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    listen: tuple[Listen, ...] = Field(min_length=1)
    """Where calls arrive: ``udp:203.0.113.20:5060``."""
    peers: tuple[Network, ...] = Field(min_length=1)
    """Who may send calls: addresses or blocks of the trunk's provider, of own PBXs."""
    gateway: Place
    """Where numbers are dialled: host and port of the trunk, or of a PBX."""
    destinations: dict[Number, Address] = {}
    """Numbers that ring somewhere else than at the gateway: desk phones."""
    default_number: Number | None = None
    """Who is rung when nobody can say whom to ring."""
    defaults: dict[Number, Number] = {}
    """The same for one dialled number."""

    router_hook: SecretStr | None = None
    """Where the router takes webhooks of the account, as ``trunkline router account add`` printed it."""
    router_hook_file: str | None = None
    """A file with it, instead."""
    auth_token_file: str | None = None
    """A file with the account's auth token, when it has one."""
    redis: Annotated[SecretStr, AfterValidator(lambda value: SecretStr(_redis(value.get_secret_value())))] | None = None
    """Where recent answers are kept; several servers may share it."""

    dialled_number_in: Literal["request-uri", "to"] = "request-uri"
    deadline_ms: int = Field(default=500, ge=100, le=5000)
    """How long a caller waits for the router. Kamailio's timers tick sixteen times a second."""
    silent_ms: int = Field(default=5000, ge=500, le=32000)
    """How long a destination may say nothing at all, unless the router says otherwise."""
    ring_seconds: int = Field(default=25, ge=1, le=180)
    """How long one rings, unless the router says otherwise."""
    stop_on: tuple[Code, ...] = (603, 607, 608)
    """Refusals of one destination that end the search for others. 486 is busy, 600 busy everywhere."""
    max_hops: int = Field(default=3, ge=1, le=20)
    """How many servers like this one a call may pass."""
    calls_per_second: int = Field(default=50, ge=1, le=10000)
    askers: int = Field(default=8, ge=1, le=64)
    """Processes that ask the router; each asks one question at a time."""
    keep_answers_seconds: int = Field(default=3600, ge=1, le=86400)
    """How long an answer in Redis is recent."""
    tell_minutes: int = Field(default=10, ge=1, le=120)
    """How long one status of a call is tried to be told to a router that is away."""
    control_socket: Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9._/-]+$")] = "/run/kamailio/kamailio_ctl"

    def hook(self) -> str:
        """The account's address, which is a secret."""
        text = self.router_hook.get_secret_value() if self.router_hook else _first_line(self.router_hook_file)
        if not HOOK.fullmatch(text):
            raise Problem(
                "the router's hook does not look like http://HOST:PORT/v1/hooks/kamailio/SECRET",
                "trunkline router account add --tenant TENANT --vendor kamailio",
            )
        return text

    def token(self) -> str:
        text = _first_line(self.auth_token_file) if self.auth_token_file else ""
        if text and not TOKEN.fullmatch(text):
            raise Problem(
                "the auth token has characters that do not fit into a header", "trunkline router account --help"
            )
        return text


def _first_line(path: str | None) -> str:
    if path is None:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise Problem(f"{path} cannot be read: {error.strerror}", f"ls -l {quote(Path(path))}") from None


def read(path: Path) -> Settings:
    """Read settings as TOML. Raises :class:`Problem` with the first thing that is wrong, never with its value."""
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        return Settings(**values)
    except OSError as error:
        raise Problem(f"{path} cannot be read: {error.strerror}", f"ls -l {quote(path)}") from None
    except tomllib.TOMLDecodeError as error:
        raise Problem(f"{path} is not TOML: {error}", "cat deploy/sip/settings.example.toml") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"] if part != "[key]")
        raise Problem(f"{name} in {path}: {first['msg']}", "cat deploy/sip/settings.example.toml") from None
