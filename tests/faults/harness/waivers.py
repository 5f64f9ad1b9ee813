"""What a run excuses, and how much of it: no excuse holds without the fault that is its reason, nor without a bound."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.faults.harness.checks import Violation, found
from tests.faults.harness.ledger import Operation

__all__ = [
    "Window",
    "acknowledged_enough",
    "fault_windows",
    "few_told_otherwise",
    "few_unrecorded",
    "unknown_for_a_reason",
]

RECOVERY = 30.0
"""How long after its end a fault may still be the reason for something."""
AT_ONCE = 10.0
"""An input that is asked for needs so long without a fault to count as asked in quiet."""
QUIET_SHARE, POOR_SHARE, ENOUGH = 0.95, 0.8, 20
UNRECORDED_SHARE, STRAY_SHARE, OTHERWISE_SHARE = 0.02, 0.005, 0.01
FEW = 3
UNKNOWN_PER_WINDOW = 3


@dataclass(frozen=True, slots=True)
class Window:
    """One fault: from its beginning to its end, and the parts that it touches."""

    begin: float
    end: float
    kind: str
    touches: frozenset[str]

    def over(self, begin: float, end: float) -> bool:
        return self.begin <= end and begin <= self.end + RECOVERY


def fault_windows(entries: Iterable[Mapping[str, Any]]) -> list[Window]:
    """The faults of a ledger's entries. One whose end is not there lasts for ever."""
    under_way: dict[tuple[str, str], float] = {}
    windows: list[Window] = []
    for entry in entries:
        if entry["kind"] != "fault":
            continue
        slot = (str(entry["fault"]), str(entry["target"]))
        if entry["step"] == "begin":
            under_way[slot] = float(entry["at"])
        elif slot in under_way:
            windows.append(Window(under_way.pop(slot), float(entry["at"]), slot[0], _touches(*slot)))
    return [*windows, *(Window(begin, float("inf"), kind, _touches(kind, t)) for (kind, t), begin in under_way.items())]


def _touches(kind: str, target: str) -> frozenset[str]:
    """Services and servers by name; a crash point names its process as a package, and some cut Postgres off as well."""
    process, _, point = target.partition(".")
    name = {"smtp": "smtp-sink"}.get(process, process.replace("_", "-"))
    return frozenset({name, "postgres"} if "journal" in point else {name})


def few_unrecorded(waived: Sequence[tuple[str, float]], rings: int, windows: Sequence[Window]) -> list[Violation]:
    """I1: a ring may be answered without a record while the router or what it writes to is broken, and seldom then."""
    reasons = {"telephony-router", "postgres"}
    stray = [call for call, at in waived if not any(w.over(at - AT_ONCE, at) and w.touches & reasons for w in windows)]
    return [
        *(
            found("I1 no loss", "declared unrecorded, and nothing kept the router from writing", stray)
            if len(stray) > max(1, STRAY_SHARE * rings)
            else ()
        ),
        *(
            found("I1 no loss", "more rings were declared unrecorded than may be", [call for call, _ in waived])
            if len(waived) > max(FEW, UNRECORDED_SHARE * rings)
            else ()
        ),
    ]


def few_told_otherwise(
    waived: Sequence[tuple[str, float, float]], rings: int, windows: Sequence[Window]
) -> list[Violation]:
    """I1: who asks again is told something else only when the router or what it remembers by was broken, and seldom.

    ``waived`` names rings with when they were first asked and when they were last answered.
    """
    reasons = {"telephony-router", "postgres"}
    able = [window for window in windows if window.touches & reasons]
    without = [call for call, asked, told in waived if not any(window.over(asked, told) for window in able)]
    too_many = [call for call, _, _ in waived] if len(waived) > max(FEW, OTHERWISE_SHARE * rings) else []
    return [
        *found("I1 no loss", "was told otherwise when asked again, and nothing was broken", without),
        *found("I1 no loss", "more rings were told otherwise when asked again than may be", too_many),
    ]


def unknown_for_a_reason(mails: Mapping[str, tuple[float, float]], windows: Sequence[Window]) -> list[Violation]:
    """I2: nobody knows a mail's outcome only when its sending was broken: each within a fault, and a few for each.

    ``mails`` names the unknown ones with when they were asked for and when the outcome was told.
    """
    reasons = {"notifier", "smtp-sink", "postgres"}
    able = [window for window in windows if window.touches & reasons]
    without = [to for to, (asked, told) in mails.items() if not any(window.over(asked, told) for window in able)]
    too_many = list(mails) if len(mails) > UNKNOWN_PER_WINDOW * len(able) else []
    return [
        *found("I2 once", "the outcome is unknown, and nothing was done to the sending", without),
        *(found("I2 once", "more outcomes are unknown than faults explain", too_many) if not without else ()),
    ]


def acknowledged_enough(
    operations: Collection[Operation], windows: Sequence[Window]
) -> tuple[list[Violation], list[str]]:
    """I9: what is asked while nothing is broken is acknowledged. Second: of what too little was acknowledged at all."""
    quiet = [o for o in operations if not any(w.over(o.first_at, o.first_at + AT_ONCE) for w in windows)]
    refused = [f"{o.kind} {o.key}" for o in quiet if not o.acknowledged]
    violations = found("I9 liveness", "was asked for while nothing was broken, and never acknowledged", refused)
    poor = []
    for kind in sorted({o.kind for o in operations}):
        of_kind = [o for o in operations if o.kind == kind]
        if len(of_kind) >= ENOUGH and sum(o.acknowledged for o in of_kind) < POOR_SHARE * len(of_kind):
            poor.append(f"{kind}s acknowledged: {sum(o.acknowledged for o in of_kind)} of {len(of_kind)} asked")
    return (violations if len(refused) > (1 - QUIET_SHARE) * len(quiet) else []), poor
