"""Owns tenants, people and numbers, and the console."""
