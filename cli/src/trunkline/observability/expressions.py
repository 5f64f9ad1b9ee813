"""The few shapes that nearly every query of a dashboard has."""

from __future__ import annotations

__all__ = ["per_second", "quantile", "share"]

RATE = "$__rate_interval"


def per_second(selector: str, by: str = "") -> str:
    """How often a counter grows, summed by labels."""
    return f"sum{_by(by)} (rate({selector}[{RATE}]))"


def quantile(q: float, metric: str, by: str = "", matchers: str = "") -> str:
    """A quantile of a histogram, by labels; ``metric`` without ``_bucket``."""
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({q:g}, sum by ({labels}) (rate({metric}_bucket{matchers}[{RATE}])))"


def share(part: str, whole: str, by: str = "") -> str:
    """The share that one counter's growth has in another's; 0 when there is none of the part."""
    total = per_second(whole, by)
    return f"({per_second(part, by)} or 0 * {total}) / {total}"


def _by(labels: str) -> str:
    return f" by ({labels})" if labels else ""
