"""Distils messages and calls into versioned facts."""
