"""What the router can be told. Times carry their unit in the name."""

from __future__ import annotations

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from configuration import ServiceSettings
from telephony_router.peers import networks
from telephony_router.seal import Seal

__all__ = ["Settings"]


class Settings(ServiceSettings, service="telephony-router"):
    http_port: int = 17081

    secret_key: SecretStr
    """Base64 of at least 32 random bytes; seals the vendors' auth tokens."""
    data_dir: str = ".run/telephony-router"
    """Where the snapshot and the journal are."""
    public_base_url: str = ""
    """Scheme and host under which vendors call us, when no proxy says so: signatures are made over it."""
    trusted_proxies: str = ""
    """Addresses or CIDR blocks of our own proxies, by commas: only they may say for whom they forward."""

    answers_only: bool = False
    """Whether understanding webhooks, publishing and following the directory are left to other replicas, of which there
    must be one at least: then whoever answers callers does nothing else."""
    realtime: bool = False
    """Whether it goes before all that is not in real time (``telephony_router.realtime``), if it answers only."""

    deadline_ms: int = 220
    """Ours; what is left of the promised 250 ms is for the way and for a busy machine."""
    redis_budget_ms: int = 30
    postgres_budget_ms: int = 100
    journal_max_bytes: int = 256 * 1024 * 1024
    snapshot_callers_max: int = 20_000
    view_poll_ms: int = 200
    view_sweep_seconds: int = 60
    busy_max_minutes: int = 240
    """A call that somebody took longer ago keeps them busy no more: its end was never reported."""
    claim_margin_seconds: int = 15
    """How much longer than their calls may ring people are kept free for them."""
    intake_poll_ms: int = 100
    intake_batch_max: int = 500
    intake_keep_days: int = 30
    claim_lease_seconds: int = Field(900, ge=1)
    """How long a claim of a missed call holds without being renewed."""
    missed_window_hours: int = Field(24, ge=1)
    """Missed calls of one caller that are so close together are one item."""
    missed_sweep_seconds: float = Field(2.0, gt=0)

    dial_at_once: int = 8
    """How many calls one router places at a time."""
    dial_api_bases: str = ""
    """Addresses (scheme, host, port) by commas that may be asked to dial besides the vendors' own."""
    stuck_minutes: int = 20
    """After so long without news the vendor is asked about a call that has no end."""
    reconcile_per_minute: int = 60

    recording_store: str = ""
    """A folder, or ``s3://bucket/prefix``; ``recordings`` below the data directory when empty."""
    recording_s3_endpoint: str = ""
    recording_s3_region: str = "us-east-1"
    recording_s3_access_key: str = ""
    recording_s3_secret_key: SecretStr = SecretStr("")
    recording_fetchers: int = Field(4, ge=0, le=64)
    """How many are fetched at once; none with 0."""
    recording_fetchers_per_account: int = Field(2, ge=1, le=64)
    recording_attempts_max: int = Field(8, ge=1, le=100)
    recording_pause_seconds: float = Field(30.0, gt=0)
    """After the first attempt; it doubles, up to an hour."""
    recording_lease_seconds: float = Field(60.0, gt=0)
    """How long after a fetcher was killed another one takes its recording up."""
    recording_keep_days: int = Field(0, ge=0)
    """After so many days a stored recording is let go; 0 keeps all."""
    recording_max_bytes: int = Field(256 * 1024 * 1024, ge=1)
    recording_total_seconds: float = Field(900.0, gt=0)
    recording_allow_http: bool = False
    """Fetch in the clear as well: for a PBX in the same house. Credentials are never sent that way."""
    recording_allow_networks: str = ""
    """CIDR blocks by commas that recordings may come from although they are private: the PBX's own."""
    recording_ca_file: str = ""
    """Certificates that are trusted besides the system's."""

    @field_validator("realtime")
    @classmethod
    def _answers(cls, value: bool, info: ValidationInfo) -> bool:
        if value and not info.data.get("answers_only"):
            raise ValueError("what else a router does can wait: leave it to other replicas with ANSWERS_ONLY=true")
        return value

    @field_validator("trusted_proxies", "recording_allow_networks")
    @classmethod
    def _blocks(cls, value: str) -> str:
        networks(value.split(","))
        return value

    @field_validator("secret_key")
    @classmethod
    def _usable(cls, value: SecretStr) -> SecretStr:
        Seal(value.get_secret_value())
        return value
