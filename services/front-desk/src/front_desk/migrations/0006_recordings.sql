-- The recordings of a call that are in the store, by their ids. A call's row is where its order is kept, so they are
-- part of it: whichever is told first, a browser that follows sees both.
ALTER TABLE board_call ADD COLUMN recordings jsonb NOT NULL DEFAULT '{}';
