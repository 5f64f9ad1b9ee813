-- Until when a signed-in browser may change dead letters: its user has given the password once more.
ALTER TABLE console_session ADD COLUMN unlocked_until timestamptz;
GRANT UPDATE (unlocked_until) ON console_session TO front_desk_system;
