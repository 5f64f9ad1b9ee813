"""What front-desk can be told."""

from __future__ import annotations

from pydantic import Field, field_validator

from configuration import ServiceSettings

__all__ = ["Settings"]


# The ports that the services listen at when they are told no others.
NEIGHBOURS = {
    "front-desk": 17080, "telephony-router": 17081, "vault-importer": 17082, "brain-distiller": 17083,
    "anomaly-engine": 17084, "notifier": 17085,
}  # fmt: skip


class Settings(ServiceSettings, service="front-desk"):
    http_port: int = 17080
    session_hours: int = Field(12, ge=1, le=720, description="How long a sign-in to the console lasts.")
    secure_cookies: bool | None = Field(
        None, description="Send the session cookie over HTTPS only. By default yes, except in a demo."
    )
    sign_in_failures_max: int = Field(
        5, ge=1, description="Failed sign-ins of one person from one address before they have to wait."
    )
    sign_in_window_minutes: int = Field(15, ge=1, description="How long they have to wait.")
    body_max_bytes: int = Field(65_536, ge=1024, description="Longest request body; longer ones get 413.")
    streams_max: int = Field(500, ge=1, description="Browsers that may follow live at once; further ones poll.")
    board_keep_days: int = Field(90, ge=1, description="How long the console shows calls, anomalies, mails, imports.")
    service_urls: str = Field(
        ",".join(f"{name}=http://127.0.0.1:{port}" for name, port in NEIGHBOURS.items()),
        description="Where the services are that the console asks: name=url, several by commas.",
    )
    demo_logins: str = Field(
        "", description="Shown on the sign-in page of a demo: email:password, several separated by commas."
    )

    def cookies_are_secure(self) -> bool:
        return not self.demo if self.secure_cookies is None else self.secure_cookies

    @field_validator("service_urls")
    @classmethod
    def _name_and_url(cls, text: str) -> str:
        for each in filter(None, map(str.strip, text.split(","))):
            name, _, url = each.partition("=")
            if not name or not url.startswith(("http://", "https://")):
                raise ValueError(f"{each!r} is not name=url")
        return text

    def services(self) -> dict[str, str]:
        """Addresses by service."""
        pairs = (each.strip().partition("=") for each in self.service_urls.split(",") if each.strip())
        return {name: url.rstrip("/") for name, _, url in pairs}

    def shown_logins(self) -> list[tuple[str, str]]:
        """Addresses and passwords to show on the sign-in page: none outside a demo."""
        if not self.demo:
            return []
        pairs = (login.partition(":") for login in self.demo_logins.split(","))
        return [(email.strip(), password.strip()) for email, _, password in pairs if email.strip()]
