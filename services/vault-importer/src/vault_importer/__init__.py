"""Imports WhatsApp backups into a tamper-evident archive."""
