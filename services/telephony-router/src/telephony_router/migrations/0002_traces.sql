-- The trace of the request that brought a webhook, so that the events made of it later continue it.
ALTER TABLE intake ADD COLUMN traceparent text NOT NULL DEFAULT '';
