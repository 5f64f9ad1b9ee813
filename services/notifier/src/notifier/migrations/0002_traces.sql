-- The trace that told of a red rule, and the one in which a message was composed: its attempts continue it.
ALTER TABLE red_rule ADD COLUMN traceparent text NOT NULL DEFAULT '';
ALTER TABLE send ADD COLUMN traceparent text NOT NULL DEFAULT '';
