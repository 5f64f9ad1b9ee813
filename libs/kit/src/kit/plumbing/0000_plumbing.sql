-- The tables that delivery needs, one set in every service's schema, and the two functions that put
-- row-level security on a service's own tables. Applied before the service's first migration.

-- Row-level security for a tenant's table. Owner and superuser tricks aside (FORCE), a role sees a row only
-- when app.tenant names its tenant; with app.tenant unset the query fails instead of finding nothing.
CREATE FUNCTION protect(target regclass, app_grants text DEFAULT 'SELECT, INSERT, UPDATE, DELETE') RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    service text := current_schema();
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', target);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', target);
    EXECUTE format(
        'CREATE POLICY tenant ON %s TO %I, %I USING (tenant_id = current_setting(''app.tenant'')::uuid)',
        target, service || '_app', service || '_ro');
    EXECUTE format('GRANT %s ON %s TO %I', app_grants, target, service || '_app');
    EXECUTE format('GRANT SELECT ON %s TO %I', target, service || '_ro');
END
$$;

-- Plumbing only: lets the service's system role work on every tenant's rows of one table.
CREATE FUNCTION open_to_system(target regclass, grants text DEFAULT 'SELECT, INSERT, UPDATE, DELETE') RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    service text := current_schema();
BEGIN
    EXECUTE format('CREATE POLICY system ON %s TO %I USING (true)', target, service || '_system');
    EXECUTE format('GRANT %s ON %s TO %I', grants, target, service || '_system');
END
$$;

-- Which Postgres cluster the transaction ids of the outbox belong to. A restored cluster starts its ids anew:
-- its rows get the next epoch, so they sort after everything the old cluster wrote.
CREATE TABLE cluster_epoch (
    system_identifier bigint PRIMARY KEY,
    epoch integer NOT NULL UNIQUE,
    since timestamptz NOT NULL DEFAULT now()
);
INSERT INTO cluster_epoch (system_identifier, epoch) SELECT system_identifier, 1 FROM pg_control_system();

CREATE FUNCTION current_epoch() RETURNS integer LANGUAGE sql STABLE AS $$
    SELECT coalesce(
        (SELECT epoch FROM cluster_epoch WHERE system_identifier = (SELECT system_identifier FROM pg_control_system())),
        (SELECT max(epoch) + 1 FROM cluster_epoch))
$$;

-- Events that left with their state, in the columns that Debezium's outbox event router expects
-- (id, aggregatetype, aggregateid, type, payload) and those that our own relay adds.
CREATE TABLE outbox (
    epoch integer NOT NULL,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    seq bigint GENERATED ALWAYS AS IDENTITY,
    id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    aggregatetype text NOT NULL,
    aggregateid text NOT NULL,
    type text NOT NULL,
    payload text,
    subject text NOT NULL,
    occurred_at timestamptz NOT NULL,
    correlationid text NOT NULL DEFAULT '',
    causationid text NOT NULL DEFAULT '',
    traceparent text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now()
) PARTITION BY RANGE (created_at);
CREATE INDEX outbox_order ON outbox (epoch, xid, seq);
CREATE TABLE outbox_rest PARTITION OF outbox DEFAULT;
SELECT protect('outbox', 'INSERT');
SELECT open_to_system('outbox', 'SELECT, INSERT');

-- How far a relay has published, and into which Kafka cluster.
CREATE TABLE relay_position (
    relay text PRIMARY KEY,
    epoch integer NOT NULL DEFAULT 0,
    xid xid8 NOT NULL DEFAULT '0',
    seq bigint NOT NULL DEFAULT 0,
    kafka_cluster text NOT NULL DEFAULT '',
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- One partition a day, a week ahead; old ones leave whole, and only when a relay has published all of them.
CREATE FUNCTION maintain_outbox(keep interval) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    day date;
    part record;
    unpublished boolean;
BEGIN
    FOR day IN SELECT generate_series(current_date, current_date + 7, '1 day')::date LOOP
        IF to_regclass(format('outbox_%s', to_char(day, 'YYYYMMDD'))) IS NULL THEN
            BEGIN
                EXECUTE format('CREATE TABLE %I PARTITION OF outbox FOR VALUES FROM (%L) TO (%L)',
                    'outbox_' || to_char(day, 'YYYYMMDD'), day::timestamptz, (day + 1)::timestamptz);
            EXCEPTION WHEN check_violation THEN
                NULL; -- the default partition already holds rows of this day; they stay there
            END;
        END IF;
    END LOOP;
    FOR part IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'outbox'::regclass AND c.relname ~ '^outbox_[0-9]{8}$'
            AND to_date(right(c.relname, 8), 'YYYYMMDD') < current_date - keep
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %I o WHERE (o.epoch, o.xid, o.seq) >
            (SELECT epoch, xid, seq FROM relay_position ORDER BY epoch, xid, seq LIMIT 1))', part.relname)
            INTO unpublished;
        IF NOT unpublished THEN
            EXECUTE format('DROP TABLE %I', part.relname);
        END IF;
    END LOOP;
END
$$;

-- What this service's consumers have already handled; kept longer than any sender redelivers.
CREATE TABLE inbox (
    consumer text NOT NULL,
    tenant_id uuid NOT NULL,
    replay_id text NOT NULL DEFAULT '',
    event_id text NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, consumer, replay_id, event_id)
);
CREATE INDEX inbox_seen_at ON inbox USING brin (seen_at);
SELECT protect('inbox', 'SELECT, INSERT');
SELECT open_to_system('inbox', 'SELECT, DELETE');

-- Records that could not be handled, with their original bytes, and those that wait behind them.
-- A record without a readable tenant belongs to the nil uuid, which no tenant has.
CREATE TABLE dead_letter (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    consumer text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    key bytea,
    value bytea,
    header_names text[] NOT NULL,
    header_values bytea[] NOT NULL,
    event_id text,
    event_type text,
    reason text NOT NULL,
    message text NOT NULL,
    stack_hash text NOT NULL DEFAULT '',
    attempts integer NOT NULL,
    occurrences integer NOT NULL DEFAULT 1,
    parked_behind boolean NOT NULL DEFAULT false,
    traceparent text NOT NULL DEFAULT '',
    first_failed_at timestamptz NOT NULL DEFAULT now(),
    last_failed_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (consumer, topic, partition, "offset")
);
SELECT protect('dead_letter', 'SELECT');
SELECT open_to_system('dead_letter');

-- Keys whose later events wait, so that their order holds.
CREATE TABLE parked_key (
    consumer text NOT NULL,
    tenant_id uuid NOT NULL,
    key text NOT NULL,
    since timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, key)
);
SELECT protect('parked_key', 'SELECT');
SELECT open_to_system('parked_key');

DO $$
DECLARE
    service text := current_schema();
BEGIN
    -- Rules and dashboards read projections, not events on their way or records that failed.
    EXECUTE format('REVOKE SELECT ON outbox, inbox, dead_letter, parked_key FROM %I', service || '_ro');
    EXECUTE format('GRANT SELECT ON cluster_epoch TO %I, %I', service || '_app', service || '_system');
    EXECUTE format('GRANT INSERT ON cluster_epoch TO %I', service || '_system');
    EXECUTE format('GRANT SELECT, INSERT, UPDATE ON relay_position TO %I', service || '_system');
    EXECUTE format('ALTER FUNCTION maintain_outbox(interval) SET search_path = %I', service);
    EXECUTE 'REVOKE EXECUTE ON FUNCTION maintain_outbox(interval) FROM PUBLIC';
    EXECUTE format('GRANT EXECUTE ON FUNCTION maintain_outbox(interval) TO %I', service || '_system');
    EXECUTE format('ALTER FUNCTION current_epoch() SET search_path = %I', service);
END
$$;
