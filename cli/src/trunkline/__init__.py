"""The trunkline command: the local stack, contracts, demo and operations."""
