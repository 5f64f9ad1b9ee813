"""Pure parsing and checksums of Indian business identifiers."""
