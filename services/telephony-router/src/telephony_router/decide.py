"""Whom to ring: a pure function of what is known, what was asked, and the time.

The rules are asked in one order, and the first that has somebody to ring decides. Every candidate that a rule named
on the way there and that is not rung is kept, with the rule and the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from telephony_router.opening import is_open, opens
from telephony_router.routing import (
    SPAM_DAYS,
    Agent,
    Decision,
    DidEntry,
    Diversion,
    Exclusion,
    Group,
    Load,
    Offer,
    Request,
    RoutingView,
    Step,
    Target,
)

__all__ = ["decide"]

NEVER = datetime.min.replace(tzinfo=UTC)
NO_LOAD, NO_OFFER = Load(), Offer()
NO_SKILLS: frozenset[str] = frozenset()


def decide(view: RoutingView, request: Request, now: datetime) -> Decision:
    """Too many hops, emergency, blocklist and spam end it at once. Then: whom the caller knows, VIPs' people, the menu;
    after hours what takes their place, else the DID's people and group; overflow, and the fallbacks."""
    return _Question(view, request, now).answer()


@dataclass(frozen=True, slots=True)
class _Ring:
    """Whom one rule would ring, and how."""

    targets: tuple[Target, ...] = ()
    seconds: int | None = None
    """None: as long as the routing says."""
    parallel: bool = False

    def then(self, other: _Ring) -> _Ring:
        """These first, then those. Who rings at once cannot be followed by anybody."""
        if not self.targets or self.parallel:
            return self if self.targets else other
        known = {each.number for each in self.targets}
        more = tuple(each for each in other.targets if each.number not in known)
        return _Ring(self.targets + more, self.seconds)


class _Question:
    """One call that is being decided. Lives as long as one call of :func:`decide`."""

    def __init__(self, view: RoutingView, request: Request, now: datetime) -> None:
        self.view, self.request, self.now = view, request, now
        self.tenant, self.routing, self.did = view.tenant, view.tenant.routing, view.did
        self.caller = request.caller.e164 if request.caller.kind == "number" else None
        self.entry = view.caller if self.caller is not None else None
        self.vip = self.caller is not None and (
            self.caller in self.routing.vip_numbers or (self.entry is not None and self.entry.vip)
        )
        self.any_hour = self.vip and self.routing.vip_any_hour
        self.excluded: list[Exclusion] = []
        self.steps: list[Step] = []
        self.looped = False

    def answer(self) -> Decision:
        return self._at_once() or self._by_rule() or self._refuse("loop" if self.looped else "nobody")

    def _at_once(self) -> Decision | None:
        """What neither the caller's people nor the DID have a say in."""
        if self.request.hops > self.routing.max_hops:
            self.steps.append(Step(rule="hops", outcome="refused"))
            return self._refuse("loop")
        emergency = self.routing.emergency
        if emergency is not None and (emergency.until is None or self.now < emergency.until):
            self.any_hour = True
            way = Diversion(group=emergency.group, number=emergency.number)
            return self._ringing(self._diverted("emergency", way, NO_SKILLS)) or self._refuse("nobody")
        if self.caller is not None and self.caller in self.routing.blocked:
            self.steps.append(Step(rule="blocked", outcome="refused"))
            return self._refuse("blocked")
        if self._is_spam():
            if self.routing.spam is not None:
                found = self._ringing(self._diverted("spam", self.routing.spam, NO_SKILLS))
                if found is not None:
                    return found
            self.steps.append(Step(rule="spam", outcome="refused"))
            return self._refuse("spam")
        return None

    def _is_spam(self) -> bool:
        entry, limit = self.entry, self.routing.spam_limit
        if limit is None or entry is None or not entry.spam_score or entry.spam_at is None:
            return False
        known = entry.kind or entry.customer_id or self.vip or any(self._is_of(agent) for agent in self._agents())
        spam = not known and entry.spam_score >= limit and self.now - entry.spam_at < SPAM_DAYS
        if not spam:
            self.steps.append(Step(rule="spam", outcome="passed"))
        return spam

    def _is_of(self, agent: Agent) -> bool:
        return self.caller in agent.numbers

    def _agents(self) -> Iterable[Agent]:
        return self.tenant.agents.values()

    def _by_rule(self) -> Decision | None:
        closed = self._closed(self.did)
        routing, did = self.routing, self.did
        skills = did.skills if did is not None else NO_SKILLS
        found = self._ringing(self._personal(closed))
        if found is None and self.vip and routing.vip is not None:
            found = self._ringing(self._diverted("vip", routing.vip, skills))
        found = found or self._menu(skills)
        if found is None and closed and routing.after_hours is not None:
            found = self._ringing(self._diverted("after_hours", routing.after_hours, skills))
        elif found is None and did is not None:
            found = self._ringing(self._staff("did_default", did.default_staff_ids, skills))
            if found is None and did.group is not None:
                found = self._ringing(self._group("did_group", did.group, skills))
        if found is None and routing.overflow is not None:
            found = self._ringing(self._diverted("overflow", routing.overflow, skills))
        for rule, number in (
            ("did_fallback", did.fallback_number if did is not None else None),
            ("tenant_fallback", routing.fallback_number),
        ):
            if found is None and number:
                found = self._ringing(self._number(rule, number))
        return found

    def _closed(self, did: DidEntry | None) -> bool:
        """Whether calls go where they go after hours. A calendar that is not there closes nothing."""
        name = (did.calendar if did is not None else None) or self.routing.default_calendar
        calendar = self.routing.calendars.get(name) if name else None
        if calendar is None:
            return False
        closed = not opens(calendar, self.now, self.tenant.timezone)
        if did is self.did:
            self.steps.append(Step(rule="calendar", outcome="closed" if closed else "open"))
        return closed and self.routing.after_hours is not None and not self.any_hour

    def _personal(self, closed: bool) -> _Ring:
        """Who this caller knows. An anonymous caller knows nobody."""
        entry = self.entry
        if entry is None:
            return _Ring()
        known: list[tuple[str, str]] = []
        if entry.last_agent_id and entry.last_agent_at:
            if self.now - entry.last_agent_at <= timedelta(days=self.routing.last_agent_days):
                known.append(("last_agent", entry.last_agent_id))
            else:
                self._leave_out("last_agent", entry.last_agent_id, "too_long_ago")
        if entry.owner_staff_id:
            known.append(("owner", entry.owner_staff_id))
        return _Ring(self._reachable(known, NO_SKILLS, closed=closed))

    def _menu(self, skills: frozenset[str]) -> Decision | None:
        digits, did = self.request.digits, self.did
        if not digits or did is None or not did.menu:
            return None
        group = did.menu.get(digits) or did.menu.get(digits.rstrip("#"))
        if group is None:
            self.steps.append(Step(rule="menu", outcome="passed"))
            return None
        return self._ringing(self._group("menu", group, skills))

    def _diverted(self, rule: str, way: Diversion, skills: frozenset[str]) -> _Ring:
        """A diversion's group, and after it its number."""
        ring = self._group(rule, way.group, skills) if way.group else _Ring()
        if way.number and not ring.parallel:
            ring = ring.then(self._number(rule, way.number))
        return ring

    def _number(self, rule: str, number: str) -> _Ring:
        """A number. One that rings for the tenant itself is followed to who takes its calls, never in a circle."""
        seen = {self.request.did}
        here = number
        while True:
            if here == self.caller:
                return self._no_number(rule, "is_caller")
            if here in seen:
                if here == number:
                    return self._no_number(rule, "is_did")
                self.looped = True
                return self._no_number(rule, "loop")
            line = self.tenant.lines.get(here)
            if line is None:
                return _Ring((Target(number=here, reason=rule),))
            seen.add(here)
            ring = self._line(rule, line)
            if ring.targets:
                return ring
            if not line.fallback_number:
                return ring
            here = line.fallback_number

    def _line(self, rule: str, line: DidEntry) -> _Ring:
        """Who takes the calls of another DID of the tenant."""
        if self._closed(line):
            return self._no_number(rule, "closed", line.label)
        skills = NO_SKILLS if rule in ("emergency", "spam") else line.skills
        ring = self._staff(rule, line.default_staff_ids, skills)
        return ring if ring.targets or line.group is None else self._group(rule, line.group, skills)

    def _no_number(self, rule: str, reason: str, name: str = "") -> _Ring:
        self.excluded.append(Exclusion(staff_id="", rule=rule, reason=reason, name=name))
        return _Ring()

    def _group(self, rule: str, name: str, skills: frozenset[str]) -> _Ring:
        group = self.routing.groups.get(name)
        if group is None:
            return self._no_number(rule, "unknown_group", name)
        ring = self._staff(rule, self._in_turn(group), skills)
        return _Ring(ring.targets, group.ring_seconds, group.strategy == "simultaneous" and len(ring.targets) > 1)

    def _in_turn(self, group: Group) -> Iterable[str]:
        """A group's members as its strategy has them; whoever never had a call has waited longest."""
        if group.strategy == "round_robin":
            return sorted(group.staff_ids, key=self._offered_at)
        if group.strategy == "longest_idle":
            return sorted(group.staff_ids, key=lambda staff_id: self._load(staff_id).idle_since or NEVER)
        return group.staff_ids

    def _offered_at(self, staff_id: str) -> datetime:
        offer = self.view.offers.get(staff_id, NO_OFFER)
        return max(self._load(staff_id).offered_at or NEVER, offer.offered_at or NEVER)

    def _load(self, staff_id: str) -> Load:
        return self.view.load.agents.get(staff_id, NO_LOAD)

    def _staff(self, rule: str, staff_ids: Iterable[str], skills: frozenset[str]) -> _Ring:
        """People who need not know the caller: those who speak the caller's language go first."""
        language = _primary(self.entry.language) if self.entry is not None else ""
        if language:
            staff_ids = sorted(staff_ids, key=lambda staff_id: not self._speaks(staff_id, language))
        return _Ring(self._reachable(((rule, staff_id) for staff_id in staff_ids), skills))

    def _speaks(self, staff_id: str, language: str) -> bool:
        agent = self.tenant.agents.get(staff_id)
        return agent is not None and any(_primary(skill) == language for skill in agent.skills)

    def _reachable(
        self, candidates: Iterable[tuple[str, str]], skills: frozenset[str], *, closed: bool = False
    ) -> tuple[Target, ...]:
        targets: dict[str, Target] = {}
        for rule, staff_id in candidates:
            agent = self.tenant.agents.get(staff_id)
            reason = "unknown_staff" if agent is None else next(self._why_not(agent, skills, closed), None)
            if agent is None or reason is not None:
                self._leave_out(rule, staff_id, reason or "unknown_staff")
                continue
            number = agent.numbers[0]
            first = targets.setdefault(number, Target(number=number, reason=rule, staff_id=staff_id, name=agent.name))
            if first.staff_id != staff_id:
                self._leave_out(rule, staff_id, "same_number")
        return tuple(targets.values())

    def _leave_out(self, rule: str, staff_id: str, reason: str) -> None:
        agent = self.tenant.agents.get(staff_id)
        left_out = Exclusion(staff_id=staff_id, rule=rule, reason=reason, name=agent.name if agent else "")
        if left_out not in self.excluded:
            self.excluded.append(left_out)

    def _why_not(self, agent: Agent, skills: frozenset[str], closed: bool) -> Iterator[str]:
        """The reasons not to ring an agent, those that hold longest first."""
        if not agent.active:
            yield "inactive"
        if not agent.numbers:
            yield "no_number"
            return
        if self.caller is not None and self._is_of(agent):
            yield "is_caller"
        if agent.numbers[0] == self.request.did or (self.did is not None and agent.numbers[0] == self.did.did):
            yield "is_did"
        if agent.numbers[0] in self.tenant.lines:
            yield "is_line"
        if any(away.start <= self.now and (away.until is None or self.now < away.until) for away in agent.leave):
            yield "on_leave"
        if closed:
            yield "closed"
        if agent.hours and not self.any_hour and not is_open(agent.hours, self.now, self.tenant.timezone):
            yield "outside_hours"
        if not skills <= agent.skills:
            yield "lacks_skill"
        yield from self._occupied(agent)

    def _occupied(self, agent: Agent) -> Iterator[str]:
        load, own = self._load(agent.staff_id), self.request.call
        since = self.now - self.view.busy_max
        busy = {call for call, at in load.calls.items() if call != own and at > since}
        if len(busy) >= agent.capacity:
            yield "busy"
        leases = self.view.offers.get(agent.staff_id, NO_OFFER).leases
        kept = {call for call, until in leases.items() if call != own and until > self.now}
        if agent.staff_id in self.view.claimed or len(busy | kept) >= agent.capacity:
            yield "claimed"
        rest = agent.wrap_up_seconds if agent.wrap_up_seconds is not None else self.routing.wrap_up_seconds
        if self.any_hour or load.idle_since is None:
            return
        if self.now - load.idle_since < timedelta(seconds=rest):
            yield "wrap_up"

    def _ringing(self, ring: _Ring) -> Decision | None:
        """The decision for what a rule would ring, if anybody."""
        for tried in dict.fromkeys(each.rule for each in self.excluded):
            if all(step.rule != tried for step in self.steps):
                self.steps.append(Step(rule=tried, outcome="nobody"))
        if not ring.targets:
            return None
        # Somebody whom a group's skills left out can be rung all the same by a number of ours that the rule goes on to.
        rung = {(each.staff_id, each.reason) for each in ring.targets if each.staff_id}
        self.excluded = [each for each in self.excluded if (each.staff_id, each.rule) not in rung]
        rule = ring.targets[0].reason
        self.steps = [each for each in self.steps if each.rule != rule]
        self.steps.append(Step(rule=rule, outcome="rang"))
        return self._decision("dial", rule, ring)

    def _refuse(self, rule: str) -> Decision:
        return self._decision("reject", rule, _Ring())

    def _decision(self, action: str, rule: str, ring: _Ring) -> Decision:
        entry = self.entry
        return Decision(
            action="dial" if action == "dial" else "reject",
            destinations=ring.targets,
            excluded=tuple(self.excluded),
            rule=rule,
            rung=self.view.rung,
            view_age_ms=self.view.age_ms,
            ring_seconds=ring.seconds or self.routing.ring_seconds,
            customer_id=entry.customer_id if entry else None,
            customer_name=entry.name if entry else "",
            steps=tuple(self.steps),
            config_version=self.routing.version,
            parallel=ring.parallel,
        )


def _primary(tag: str) -> str:
    """The language of a BCP 47 tag, without its country or script."""
    return tag.partition("-")[0].lower()
