"""Watches the operation with rules written in SQL."""
