"""Watching the platform from outside: what its parts cannot tell of themselves when they are dead."""
