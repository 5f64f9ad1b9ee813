"""``trunkline loadtest``: the traffic of a PBX, at a rate, and what became of it."""
