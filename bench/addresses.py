"""Turns the addresses that ``trunkline up --json`` prints into the environment that tests and benches read."""

from __future__ import annotations

import json
import shlex
import sys


def main() -> None:
    found = json.load(sys.stdin)
    for name in ("postgres_dsn", "kafka_bootstrap", "redis_url"):
        print(f"export TRUNKLINE_TEST_{name.upper()}={shlex.quote(found[name])}")


if __name__ == "__main__":
    main()
