-- The missed call that a call was ordered to answer, and since when it was claimed: when the call is not made, this claim
-- is everybody's again, and no other. Empty for calls that were ordered for their own sake.
ALTER TABLE outbound_call
    ADD COLUMN missed_id uuid,
    ADD COLUMN missed_since timestamptz,
    ADD CONSTRAINT outbound_call_missed CHECK ((missed_id IS NULL) = (missed_since IS NULL));
