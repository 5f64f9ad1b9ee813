"""Tells the right people, once."""
