"""What REST callers send and get: the edge's models, with the examples that the OpenAPI document shows."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from front_desk.credentials import PASSWORD_MAX, PASSWORD_MIN, Role
from front_desk.directory import Absence, Customer, Did, Lead, Staff, Tenant
from front_desk.hours import Stretch

__all__ = [
    "ApiKeyBody",
    "ApiKeyInfo",
    "ApiKeyMade",
    "Body",
    "CustomerBody",
    "DidBody",
    "EntityAnswer",
    "EntityPage",
    "LeadBody",
    "LeaveBody",
    "MenuBody",
    "StaffBody",
    "StretchBody",
    "TenantBody",
    "UserBody",
    "UserMade",
    "example",
    "hours_of",
]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def example(**values: Any) -> ConfigDict:
    return ConfigDict(extra="forbid", frozen=True, json_schema_extra={"examples": [values]})


class TenantBody(Body):
    model_config = example(
        slug="malabar-spices",
        name="Malabar Spices",
        timezone="Asia/Kolkata",
        owner_name="The owner",
        owner_email="owner@malabar.example",
        pulse_at="09:00",
    )

    slug: str
    name: str
    timezone: str = "Asia/Kolkata"
    active: bool = True
    owner_name: str = ""
    owner_email: str = ""
    pulse_at: str = "09:00"

    def entity(self) -> Tenant:
        return Tenant.of(**self.model_dump())


class ApiKeyBody(Body):
    model_config = example(label="billing system")

    label: str = Field(min_length=1, max_length=100)


class ApiKeyMade(BaseModel):
    api_key: str = Field(description="Shown this once. Send it as `Authorization: Bearer …`.")
    key_id: str
    label: str


class ApiKeyInfo(BaseModel):
    key_id: str
    label: str
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


class UserBody(Body):
    model_config = example(email="desk@malabar.example", password="a long sentence of your own", role="desk")  # noqa: S106

    email: str = Field(max_length=254)
    password: str = Field(min_length=PASSWORD_MIN, max_length=PASSWORD_MAX)
    role: Role
    name: str = Field("", max_length=100, description="What colleagues see them called, for instance on a claim.")


class UserMade(BaseModel):
    user_id: UUID
    email: str
    role: Role


class StretchBody(Body):
    model_config = example(weekday=1, start="09:30", until="18:00")

    weekday: int = Field(ge=1, le=7, description="ISO: 1 is Monday")
    start: str
    until: str


class StaffBody(Body):
    model_config = example(
        name="Desk",
        numbers=["+91 98470 00011"],
        active=True,
        working_hours="Mon-Fri 09:30-18:00; Sat 09:30-13:00",
        skills=["gst", "ml"],
        capacity=1,
        wrap_up_seconds=30,
    )

    name: str
    numbers: list[str] = Field(default=[], description="The first is where calls ring.")
    active: bool = True
    working_hours: list[StretchBody] | str = Field(
        default=[], description="Stretches, or one line like `Mon-Fri 09:30-18:00; Sat 09:30-13:00`. Empty: always."
    )

    skills: list[str] = Field(default=[], description="Short words like `gst`, languages as BCP 47 tags like `ml`.")
    capacity: int = Field(default=1, description="How many calls they take at once, 1 to 50.")
    wrap_up_seconds: int | None = Field(
        default=None, description="How long they are left alone after a call, 0 to 3600. Absent: as the routing says."
    )

    def entity(self, ref: str) -> Staff:
        given = self.model_dump(exclude={"working_hours"})
        return Staff.of(external_ref=ref, working_hours=hours_of(self.working_hours), **given)


def hours_of(given: list[StretchBody] | str) -> str | tuple[Stretch, ...]:
    return given if isinstance(given, str) else tuple(Stretch(**each.model_dump()) for each in given)


class LeaveBody(Body):
    model_config = example(start="2026-11-23T00:00:00+05:30", until="2026-11-25T00:00:00+05:30", reason="family")

    start: AwareDatetime
    until: AwareDatetime | None = Field(default=None, description="Exclusive; absent while the end is not known.")
    reason: str = ""

    def entity(self) -> Absence:
        return Absence.of(start=self.start, until=self.until, reason=self.reason)


class CustomerBody(Body):
    model_config = example(
        name="Kottakkal Traders",
        numbers=["+91 98470 00021", "0484 200 0021"],
        emails=["accounts@kottakkal.example"],
        gstin="32AAACK1234A1ZJ",
        owner="desk",
        vip=True,
        language="ml",
    )

    name: str
    numbers: list[str] = []
    emails: list[str] = []
    gstin: str | None = None
    owner: str | None = Field(default=None, description="Reference of the staff member who looks after them.")
    vip: bool = Field(default=False, description="Put through first and at any hour, as the routing says.")
    language: str = Field(default="", description="BCP 47 tag of what is spoken to them, like `ml`; empty: not known.")

    def entity(self, ref: str) -> Customer:
        return Customer.of(external_ref=ref, **self.model_dump())


class LeadBody(Body):
    model_config = example(name="Caller from the fair", numbers=["+91 98470 00031"], owner="desk")

    name: str
    numbers: list[str] = []
    emails: list[str] = []
    owner: str | None = None

    def entity(self, ref: str) -> Lead:
        return Lead.of(external_ref=ref, **self.model_dump())


class MenuBody(Body):
    model_config = example(digits="1", group="reception")

    digits: str = Field(description="The keys pressed: 0 to 9, * and #.")
    group: str = Field(description="A group of the routing.")


class DidBody(Body):
    model_config = example(
        label="Shop",
        default_staff=["desk", "accounts"],
        fallback_number="+91 484 200 0099",
        default_group="reception",
        calendar="office",
        skills=["ml"],
        menu=[{"digits": "1", "group": "reception"}, {"digits": "2", "group": "accounts"}],
    )

    label: str = ""
    default_staff: list[str] = Field(default=[], description="References, rung in this order.")
    fallback_number: str | None = None
    default_group: str | None = Field(default=None, description="Group of the routing, rung after `default_staff`.")
    calendar: str | None = Field(default=None, description="Calendar of the routing. Absent: the routing's default.")
    skills: list[str] = Field(default=[], description="What whoever takes its calls has to be able to do.")
    menu: list[MenuBody] = Field(default=[], description="What callers can press before anybody is rung.")

    def entity(self, did: str) -> Did:
        return Did.of(did=did, **self.model_dump())


class EntityAnswer(BaseModel):
    """An entity as it is now. Its own fields stand beside these."""

    model_config = ConfigDict(extra="allow")

    id: str
    version: int
    outcome: Literal["created", "changed", "unchanged"] | None = None


class EntityPage(BaseModel):
    items: list[EntityAnswer]
    next: str | None = Field(description="Send as `after` to get the next page; absent on the last.")
