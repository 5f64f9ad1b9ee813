"""What front-desk can be told."""

from __future__ import annotations

from pydantic import Field

from configuration import ServiceSettings

__all__ = ["Settings"]


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
    demo_logins: str = Field(
        "", description="Shown on the sign-in page of a demo: email:password, several separated by commas."
    )

    def cookies_are_secure(self) -> bool:
        return not self.demo if self.secure_cookies is None else self.secure_cookies

    def shown_logins(self) -> list[tuple[str, str]]:
        """Addresses and passwords to show on the sign-in page: none outside a demo."""
        if not self.demo:
            return []
        pairs = (login.partition(":") for login in self.demo_logins.split(","))
        return [(email.strip(), password.strip()) for email, _, password in pairs if email.strip()]
