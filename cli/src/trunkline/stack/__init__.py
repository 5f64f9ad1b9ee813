"""The local stack: real servers and the six services as supervised processes, without containers."""
