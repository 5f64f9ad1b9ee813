-- How a running replay fares, for whoever asks: what it waits for, how fast it is, where in an owner's store it is.

ALTER TABLE replay
    ADD COLUMN waiting_for text NOT NULL DEFAULT '',
    ADD COLUMN per_second double precision NOT NULL DEFAULT 0;

-- The last row of a store that was told. Rows come, change and leave while it is told, so a count of them is no place.
ALTER TABLE replay_position ADD COLUMN last_told text NOT NULL DEFAULT '';
