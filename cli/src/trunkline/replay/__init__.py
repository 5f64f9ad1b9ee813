"""``trunkline replay``: plan, rehearse, apply, watch, compare and promote replays."""
