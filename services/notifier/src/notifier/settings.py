"""What this service can be told."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from configuration import ServiceSettings

__all__ = ["Settings"]


class Settings(ServiceSettings, service="notifier"):
    http_port: int = 17085
    smtp_host: str = Field("127.0.0.1", description="The mail server; by default the local sink, which keeps mails.")
    smtp_port: int = 17025
    smtp_tls: Literal["none", "if_offered", "starttls", "implicit"] = Field(
        "if_offered", description="starttls and implicit refuse a server without a good certificate."
    )
    smtp_ca_file: Path | None = Field(None, description="Certificates to trust instead of the system's.")
    smtp_username: str = Field("", description="Empty: no login.")
    smtp_password: SecretStr = SecretStr("")
    smtp_timeout_seconds: float = Field(20.0, gt=0, description="For each step of the exchange.")
    mail_from: str = Field("Trunkline <pulse@trunkline.localhost>", description="The sender, as Name <address>.")
    sending_enabled: bool = Field(
        True, description="False holds everything back: nothing is scheduled and nothing leaves. For restored backups."
    )
    pulse_check_seconds: float = Field(15.0, gt=0, description="Time between two looks for pulses that are due.")
    pulse_settle_seconds: float = Field(
        30.0, ge=0, description="After a start no pulse is composed for so long: events may be waiting to be read."
    )
    pulse_late_hours: float = Field(6.0, gt=0, description="How long after its time a pulse is still sent.")
    pulse_all_green: bool = Field(True, description="Whether a pulse is sent when nothing is red.")
    dispatch_seconds: float = Field(1.0, gt=0, description="Time between two looks for messages to send.")
    lease_seconds: float = Field(
        120.0, ge=1, description="How long an attempt may take. A message whose sender died waits so long."
    )
    retry_first_seconds: float = Field(15.0, gt=0, description="The pause after a first attempt that sent nothing.")
    retry_longest_seconds: float = Field(900.0, gt=0, description="Pauses double up to this.")
    give_up_hours: float = Field(12.0, gt=0, description="A message that waited so long has failed.")
