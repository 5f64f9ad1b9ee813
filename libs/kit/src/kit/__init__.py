"""Delivery plumbing shared by all services: outbox, relay, inbox, dead letters, Postgres, telemetry.

Walls: no domain noun, no environment, no event class, no service. See the tests of the architecture.
"""
