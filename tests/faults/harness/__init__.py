"""The fault harness: a seeded mix of faults against the real stack, judged from a ledger of its own.

``python -m tests.faults.harness --seed 7 --seconds 180``, or ``make faults SEED=7 SECONDS=180``.
"""
