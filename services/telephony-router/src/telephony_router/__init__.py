"""Answers the PBX mid-ring and keeps the state of every call."""
