-- The trace that told of a call's newest state, so that an anomaly leads back to the calls that it is about.
ALTER TABLE call ADD COLUMN traceparent text NOT NULL DEFAULT '';
