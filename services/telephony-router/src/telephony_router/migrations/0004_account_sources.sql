-- Where an account's webhooks may come from (empty: anywhere), and what differs between customers of one vendor.
ALTER TABLE account ADD COLUMN allow_sources text[] NOT NULL DEFAULT '{}';
ALTER TABLE account ADD COLUMN options jsonb NOT NULL DEFAULT '{}';
