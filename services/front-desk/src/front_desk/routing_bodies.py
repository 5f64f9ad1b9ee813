"""What REST callers and the command line send about the routing, and what they get back."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import AwareDatetime, BaseModel, Field

from front_desk.bodies import Body, StretchBody, example, hours_of
from front_desk.keep_routing import leave_emergency
from front_desk.routing import Emergency, Routing

__all__ = [
    "ChangeBody",
    "CheckAnswer",
    "DiffAnswer",
    "EmergencyBody",
    "RestoreBody",
    "RoutingBody",
    "VersionAnswer",
    "VersionPage",
]

LATE = {"group": None, "number": "+91 484 200 0098"}


class GroupBody(Body):
    model_config = example(name="reception", strategy="longest_idle", staff=["desk", "accounts"], ring_seconds=15)

    name: str = Field(description="Small letters, digits and hyphens; no two alike.")
    strategy: str = Field(
        default="in_order", description="`in_order`, `simultaneous`, `round_robin` or `longest_idle`."
    )
    staff: list[str] = Field(default=[], description="References of the members, in order.")
    ring_seconds: int | None = Field(default=None, description="5 to 120. Absent: as long as the routing says.")
    staff_ids: list[str] | None = Field(
        default=None, exclude=True, description="What a GET answers; not read, `staff` says who."
    )


class HolidayBody(Body):
    model_config = example(date="2026-08-26", label="Thiruvonam", start="09:30", until="13:00")

    date: str = Field(description="A day of the tenant's zone.")
    label: str = ""
    start: str = Field(default="", description="Hours of that day; without any it is closed all day.")
    until: str = ""


class CalendarBody(Body):
    model_config = example(
        name="office",
        hours="Mon-Fri 09:30-18:00; Sat 09:30-13:00",
        holidays=[{"date": "2026-08-15", "label": "Independence Day"}],
    )

    name: str = Field(description="Small letters, digits and hyphens; no two alike.")
    hours: list[StretchBody] | str = Field(
        default=[], description="As working hours of staff. Empty: always, but for the holidays."
    )
    holidays: list[HolidayBody] = Field(default=[], description="Days that the hours do not hold for.")

    def fields(self) -> dict[str, Any]:
        return {**self.model_dump(exclude={"hours"}), "hours": hours_of(self.hours)}


class DiversionBody(Body):
    model_config = example(group="reception", number="+91 484 200 0098")

    group: str | None = Field(default=None, description="A group of the routing, rung first.")
    number: str | None = Field(default=None, description="Rung after the group.")


class EmergencyBody(Body):
    model_config = example(
        number="+91 484 200 0097", until="2026-11-30T18:00:00+05:30", reason="The office is without power"
    )

    group: str | None = Field(default=None, description="A group of the routing.")
    number: str | None = Field(default=None, description="Rung after the group; one of the two has to be there.")
    until: AwareDatetime | None = Field(default=None, description="Ends by itself then. Absent: when it is ended.")
    reason: str = Field(default="", description="Shown on every page while it holds.")

    def value(self) -> Emergency:
        return Emergency.of(**self.model_dump())


class ChangeBody(Body):
    model_config = example(why="as agreed with the desk", version=4)

    why: str = Field(default="", max_length=500, description="A note for the history.")
    version: int | None = Field(
        default=None, ge=0, description="The version this was made from; 409 when it is another by now."
    )


class RestoreBody(ChangeBody):
    pass


class RoutingBody(ChangeBody):
    model_config = example(
        last_agent_days=30,
        ring_seconds=25,
        fallback_number="+91 484 200 0099",
        blocked_numbers=[],
        groups=[{"name": "reception", "strategy": "longest_idle", "staff": ["desk"], "ring_seconds": 15}],
        calendars=[
            {
                "name": "office",
                "hours": "Mon-Sat 09:30-18:00",
                "holidays": [{"date": "2026-08-15", "label": "Independence Day"}],
            }
        ],
        default_calendar="office",
        after_hours=LATE,
        overflow={"group": "reception"},
        vip={"group": "reception"},
        vip_numbers=["+91 98470 00021"],
        vip_any_hour=True,
        spam_limit=80,
        spam=None,
        claim_agents=True,
        wrap_up_seconds=20,
        max_hops=5,
        why="holidays of the new year",
        version=4,
    )

    last_agent_days: int = Field(default=30, description="How long whoever last talked to a caller is preferred.")
    ring_seconds: int = Field(default=25, description="5 to 120.")
    fallback_number: str | None = Field(default=None, description="The last resort of numbers without their own.")
    blocked_numbers: list[str] = Field(default=[], description="Never routed to a person.")
    groups: list[GroupBody] = Field(default=[], description="The ring groups that all the rest names.")
    calendars: list[CalendarBody] = Field(default=[], description="What this and the DIDs name.")
    default_calendar: str | None = Field(default=None, description="For DIDs that name none. Absent: always open.")
    after_hours: DiversionBody | None = Field(default=None, description="While the calendar is closed.")
    overflow: DiversionBody | None = Field(default=None, description="When nobody else can take a call.")
    vip: DiversionBody | None = Field(default=None, description="For VIPs, after the people they know.")
    vip_numbers: list[str] = Field(default=[], description="VIPs beside the customers who are marked so.")
    vip_any_hour: bool = Field(default=True, description="Whether hours do not hold for VIPs.")
    spam_limit: int | None = Field(default=None, description="1 to 100; a stranger's call of this score is spam.")
    spam: DiversionBody | None = Field(default=None, description="Where spam goes. Absent: it is refused.")
    emergency: EmergencyBody | None = Field(
        default=None, description="Left out: the one that holds goes on. `null` ends it."
    )
    claim_agents: bool = Field(default=False, description="Keep those named in an answer free for that call.")
    wrap_up_seconds: int = Field(default=0, description="How long whoever had a call is left alone, 0 to 3600.")
    max_hops: int = Field(default=5, description="1 to 20 times a call may have been passed on to us.")
    id: str | None = Field(default=None, exclude=True, description="What a GET answers; not read.")
    outcome: str | None = Field(default=None, exclude=True, description="What a PUT answers; not read.")

    def entity(self) -> Routing:
        given = self.model_dump(exclude={"why", "version", "calendars"})
        return Routing.of(**given, calendars=[each.fields() for each in self.calendars])

    def change(self, present: Routing | None) -> Routing:
        """What it makes of the present routing: all of it, but for an emergency that it does not speak of."""
        made = self.entity()
        return made if "emergency" in self.model_fields_set else leave_emergency(made, present)


class VersionAnswer(BaseModel):
    version: int
    changed_at: datetime
    changed_by: str
    why: str
    body: dict[str, Any] | None = Field(default=None, description="The routing as it was, whole.")


class VersionPage(BaseModel):
    items: list[VersionAnswer]
    next: int | None = Field(description="Send as `before` to get the next page; absent on the last.")


class DifferenceAnswer(BaseModel):
    field: str
    before: str | None
    after: str | None
    sentence: str


class DiffAnswer(BaseModel):
    version: int
    against: int = Field(description="The version it is compared with; 0 is before there was any.")
    changes: list[DifferenceAnswer]


class ProblemAnswer(BaseModel):
    field: str
    problem: str


class CheckAnswer(BaseModel):
    ok: bool
    version: int = Field(description="The version it was compared with; 0 when there is none.")
    problems: list[ProblemAnswer]
    changes: list[DifferenceAnswer]
