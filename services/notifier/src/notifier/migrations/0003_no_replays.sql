-- An anomaly that a replay tells is refused before it gets here.
ALTER TABLE red_rule DROP COLUMN replayed;
