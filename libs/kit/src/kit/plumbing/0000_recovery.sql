-- What working after the fact needs: dead letters that can be worked off, in order and audited, and replays.

-- Events that a replay brings about say so, all the way down, so that nobody acts on the outside world by them.
ALTER TABLE outbox ADD COLUMN replayid text NOT NULL DEFAULT '';

-- lane: the key that waits, as text; a record that could not be read has none and blocks nobody.
-- seq: the order in which a key's records came; an id is made of a clock, and clocks differ and repeat.
-- state: waiting for an operator, asked to be tried again, dropped by one (kept for a while, then forgotten).
ALTER TABLE dead_letter
    ADD COLUMN seq bigint GENERATED ALWAYS AS IDENTITY,
    ADD COLUMN lane text,
    ADD COLUMN state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'retry', 'dropped')),
    ADD COLUMN fingerprint text NOT NULL DEFAULT '',
    ADD COLUMN code_version text NOT NULL DEFAULT '',
    ADD COLUMN recorded_at timestamptz,
    ADD COLUMN edited_value bytea,
    ADD COLUMN retries integer NOT NULL DEFAULT 0,
    -- The event's id, or what stands for one that cannot be read: after Kafka lost its records another record can
    -- lie at the same offset.
    ADD COLUMN identity text NOT NULL DEFAULT '',
    DROP CONSTRAINT dead_letter_consumer_topic_partition_offset_key,
    ADD UNIQUE (consumer, topic, partition, "offset", identity);
CREATE INDEX dead_letter_lane ON dead_letter (consumer, lane, seq) WHERE state <> 'dropped';
CREATE INDEX dead_letter_group ON dead_letter (consumer, fingerprint, seq);

-- Who did what to dead letters, why, and what came of it. Without the records' contents.
CREATE TABLE dead_letter_audit (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    consumer text NOT NULL,
    letter_id uuid NOT NULL,
    event_id text,
    action text NOT NULL CHECK (action IN ('retry', 'retried', 'failed_again', 'edit', 'drop', 'restore', 'reveal')),
    who text NOT NULL,
    why text NOT NULL DEFAULT '',
    detail jsonb NOT NULL DEFAULT '{}',
    at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX dead_letter_audit_of_letter ON dead_letter_audit (letter_id, at);
SELECT protect('dead_letter_audit', 'SELECT');
SELECT open_to_system('dead_letter_audit', 'SELECT, INSERT, DELETE');

-- A bulk action on dead letters: planned (counted and frozen by hash), applied at a rate, cancelled at any time.
CREATE TABLE dead_letter_job (
    id uuid PRIMARY KEY,
    consumer text NOT NULL,
    action text NOT NULL CHECK (action IN ('retry', 'drop')),
    letters uuid[] NOT NULL,
    plan_hash text NOT NULL,
    rate double precision NOT NULL CHECK (rate > 0),
    state text NOT NULL DEFAULT 'planned' CHECK (state IN ('planned', 'running', 'done', 'cancelled')),
    done integer NOT NULL DEFAULT 0,
    failed integer NOT NULL DEFAULT 0,
    who text NOT NULL,
    why text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);

-- A replay: its frozen plan, what an operator wants of it, how far it is, and its report in the end.
CREATE TABLE replay (
    id text PRIMARY KEY,
    consumer text NOT NULL,
    target text NOT NULL CHECK (target IN ('live', 'shadow', 'rewind', 'reemit')),
    plan jsonb NOT NULL,
    plan_hash text NOT NULL,
    state text NOT NULL CHECK (state IN ('running', 'paused', 'cancelled', 'failed', 'done', 'promoted')),
    wanted text NOT NULL DEFAULT 'run' CHECK (wanted IN ('run', 'pause', 'cancel')),
    total bigint NOT NULL,
    counts jsonb NOT NULL DEFAULT '{}',
    report jsonb,
    who text NOT NULL,
    why text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    heartbeat_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);

-- How far a replay is in each partition. Moved in small steps after the steps' effects are committed.
CREATE TABLE replay_position (
    replay_id text NOT NULL REFERENCES replay,
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    end_offset bigint NOT NULL,
    PRIMARY KEY (replay_id, topic, partition)
);

-- What was done with replays, by whom: planned, applied, paused, resumed, cancelled, promoted.
CREATE TABLE replay_audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    replay_id text NOT NULL,
    action text NOT NULL,
    who text NOT NULL,
    why text NOT NULL DEFAULT '',
    detail jsonb NOT NULL DEFAULT '{}',
    at timestamptz NOT NULL DEFAULT now()
);

-- Written in the transaction that promotes a shadow run, so that none is promoted twice.
CREATE TABLE replay_promotion (
    replay_id text PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now()
);

DO $$
DECLARE
    service text := current_schema();
BEGIN
    EXECUTE format('GRANT INSERT ON replay_promotion TO %I', service || '_app');
    -- A shadow run handles events as the read-only role, which can write nowhere but into the shadow's schema.
    EXECUTE format('GRANT SELECT ON cluster_epoch TO %I', service || '_ro');
    EXECUTE format('REVOKE SELECT ON dead_letter_audit FROM %I', service || '_ro');
    EXECUTE format('GRANT SELECT, INSERT, UPDATE ON dead_letter_job, replay, replay_position TO %I',
        service || '_system');
    EXECUTE format('GRANT SELECT, INSERT ON replay_audit TO %I', service || '_system');
END
$$;
