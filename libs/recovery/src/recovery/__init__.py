"""Work after the fact: dead letters worked off, events replayed, stores re-emitted."""
