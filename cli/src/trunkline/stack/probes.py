"""Asking a process how it is."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request

__all__ = ["probe"]


def probe(url: str) -> tuple[int, str]:
    """The status of a readiness probe and what it says is lacking."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own loopback address
            return int(answer.status), ""
    except urllib.error.HTTPError as error:
        try:
            return error.code, "; ".join(json.loads(error.read()).get("why", []))
        except (ValueError, AttributeError):
            return error.code, ""
    except (OSError, ValueError, http.client.HTTPException):
        # Whatever listens there does not speak as a service of ours does.
        return 0, ""
