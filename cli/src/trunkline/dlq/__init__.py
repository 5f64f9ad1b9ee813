"""``trunkline dlq``: dead letters of every service, looked at and worked off."""
