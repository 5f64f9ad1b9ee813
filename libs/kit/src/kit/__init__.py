"""Delivery plumbing: Kafka, outbox, inbox, dead letters, Postgres, telemetry."""
