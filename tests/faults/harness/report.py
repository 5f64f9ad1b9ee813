"""What a person reads: a line whenever something happens, a table at the end."""

from __future__ import annotations

import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.faults.harness.checks import Violation
from tests.faults.harness.judge import HEAL_SECONDS, Figures
from tests.faults.harness.watch import Recovery

__all__ = ["Outcome", "Progress", "table", "totals", "worst"]


@dataclass
class Outcome:
    """How a run ended."""

    seed: int
    seconds: float
    settled_seconds: float
    figures: Figures
    faults: Counter[str]
    skipped: Counter[str]
    recoveries: Sequence[Recovery]
    violations: Sequence[Violation]
    kills: int
    fired: Counter[str]
    limit: float = HEAL_SECONDS
    """Seconds that everything had to come to rest after the heal."""
    unanswered_probes: int = 0
    untold: Sequence[str] = ()
    """What could not be told: such a run has not held."""
    orderly_restarts: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    @property
    def missing(self) -> list[str]:
        """What a run must have had to say anything: inputs of each kind, a probe that saw something, and a kill."""
        had = {kind: self.figures.acknowledged[kind] for kind in ("ring", "status", "import", "mail")}
        had |= {"isolation probe that saw rows": self.figures.probes_that_saw, "kill -9": self.kills}
        return [name for name, count in had.items() if not count]


class Progress:
    """Lines on stderr, each with the seconds since the beginning."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, line: str) -> None:
        sys.stderr.write(f"{time.monotonic() - self._began:7.1f}  {line}\n")
        sys.stderr.flush()


def table(outcome: Outcome) -> str:
    figures = outcome.figures
    by_check = totals(outcome.violations)
    rows = [
        ("seed, seconds of faults", f"{outcome.seed}, {outcome.seconds:.0f}"),
        ("inputs acknowledged", _counts(figures.acknowledged)),
        ("inputs never acknowledged (unknown outcome)", _counts(figures.unknown) or "0"),
        ("  of these taken after all", _counts(figures.taken_after_all) or "0"),
        ("rings answered in time, declared unrecorded", str(figures.unrecorded)),
        ("rings told otherwise when asked again", str(figures.told_otherwise)),
        (
            "taken back by restores, not judged",
            f"{figures.doubted} inputs, {figures.forgotten} events, "
            f"{figures.passed_in_doubt} of {figures.passed} outcomes",
        ),
        ("events on Kafka", f"{figures.records}, of which {figures.repeated} repetitions by relays"),
        ("mails", f"{figures.mails} arrived, {figures.mails_unknown} with an unknown outcome"),
        ("poison records parked", str(figures.poison)),
        ("states compared with what consumers show", _counts(figures.shown)),
        ("effects whose order was compared", str(figures.taken_in_order)),
        ("facts of backups that must be known", str(figures.facts)),
        ("dead letters tried again after the heal", str(figures.worked_off)),
        ("heads of audit logs noted", str(figures.heads)),
        ("faults", f"{sum(outcome.faults.values())}: {_counts(outcome.faults)}"),
        ("kill -9", f"{outcome.kills}, of which {sum(outcome.fired.values())} at crash points"),
        ("restarted as stuck, by the supervisor", _counts(outcome.orderly_restarts) or "0"),
        ("isolation probes", f"{figures.probes}, {outcome.unanswered_probes} while Postgres was away"),
        (
            "outboxes empty, nobody behind, after the heal",
            f"{outcome.settled_seconds:.1f} s (limit {outcome.limit:.0f})",
        ),
        ("losses (I1)", str(by_check["I1"])),
        ("doubles (I2)", str(by_check["I2"])),
        ("reorders (I3)", str(by_check["I3"])),
        ("other violations", str(sum(n for check, n in by_check.items() if check not in ("I1", "I2", "I3")))),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {value}" for name, value in rows]
    lines += ["", "seconds until every service was ready again, per fault:", *_recovery_lines(outcome.recoveries)]
    if outcome.fired:
        lines += ["", "crash points reached:", *(f"  {name}  {n}" for name, n in sorted(outcome.fired.items()))]
    if outcome.skipped:
        lines += [
            "",
            "not made:",
            *(f"  {what}{f' ({n} times)' if n > 1 else ''}" for what, n in sorted(outcome.skipped.items())),
        ]
    lines += [f"note: {note}" for note in outcome.notes]
    lines += ["", *(f"VIOLATED  {violation}" for violation in outcome.violations)]
    lines += [f"COULD NOT TELL  {what}" for what in outcome.untold]
    lines.append("BROKEN" if outcome.violations else "COULD NOT TELL" if outcome.untold else "held")
    return "\n".join(lines)


def totals(violations: Iterable[Violation]) -> Counter[str]:
    """How often each invariant was violated: events, not sentences."""
    found: Counter[str] = Counter()
    for violation in violations:
        found[violation.check.split()[0]] += violation.count
    return found


def worst(looks: Iterable[Violation]) -> list[Violation]:
    """Of looks at the same thing, each of which sees again what an earlier one saw: the worst of each sentence."""
    found: dict[tuple[str, str], Violation] = {}
    for each in looks:
        known = found.setdefault((each.check, each.sentence), each)
        if each.count > known.count:
            found[each.check, each.sentence] = each
    return list(found.values())


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items()) if count)


def _recovery_lines(recoveries: Sequence[Recovery]) -> list[str]:
    by_kind: dict[str, list[float]] = defaultdict(list)
    for each in recoveries:
        if each.seconds is not None:
            by_kind[each.kind].append(each.seconds)
    return [
        f"  {kind:<20} n={len(found):<4} median {statistics.median(found):5.1f}  longest {max(found):5.1f}"
        for kind, found in sorted(by_kind.items())
    ]
