"""Versioned event contracts: the envelope, the topics, the events and their schemas.

Everything here is a value. No I/O, no behaviour beyond encoding and upcasting, no dependency but pydantic.
"""
