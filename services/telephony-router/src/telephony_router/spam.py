"""How much a number that is nobody's calls like a machine: a score of 0 to 100 from its own calls of a day."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["StrangerCalls", "score"]

SCORE_MAX = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class StrangerCalls:
    """Counts up to some moment. Futile calls are over within five seconds, or given up by the caller."""

    futile_hour: int = 0
    futile_day: int = 0
    dids_hour: int = 0
    """How many DIDs the futile calls of the hour went to."""
    dids_day: int = 0
    talks_day: int = 0
    """Calls that somebody talked longer in."""


def score(calls: StrangerCalls) -> int:
    """12 for each futile call of the hour after the first and 4 for each earlier one of the day; 15 for each further
    DID tried within the hour and 5 for each tried earlier. Each real talk of the day takes 40 off: no machine talks.

    One futile call is never anything; five to one DID within an hour are 48, to five DIDs 100.
    """
    if calls.futile_day == 0:
        return 0
    earlier = calls.futile_day - calls.futile_hour
    points = 12 * max(0, calls.futile_hour - 1) + 4 * max(0, earlier - (1 if calls.futile_hour == 0 else 0))
    points += 15 * max(0, calls.dids_hour - 1) + 5 * max(0, calls.dids_day - max(1, calls.dids_hour))
    return max(0, min(SCORE_MAX, points - 40 * calls.talks_day))
