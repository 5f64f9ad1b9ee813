"""The menu of rules. To add one: write ``<rule>.sql`` and ``cases/<rule>.yaml`` here and name it in the table."""

from __future__ import annotations

from importlib.resources import files

from anomaly_engine.rules.base import Rule, RuleMistake, Severity, parse_rule

__all__ = ["RULES", "Rule", "RuleMistake", "Severity", "load_rules"]

RULES = ("capsule_fact_value_conflict", "stuck_initiated_calls", "whatsapp_archive_stale_24h")


def load_rules() -> dict[str, Rule]:
    """Every rule of the table, checked. Raises :class:`RuleMistake` for the first that is not a rule."""
    folder = files(__package__)
    return {name: parse_rule(name, folder.joinpath(f"{name}.sql").read_text(encoding="utf-8")) for name in RULES}
