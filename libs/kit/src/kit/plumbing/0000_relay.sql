-- What a relay knows of the Kafka that it publishes to, how an operator sends it back, and how far it is behind.

-- kafka_ends: where each partition ends, by 'topic/partition'; it never shrinks unless Kafka lost records.
-- generation: grows when an operator moves the position; a leader that read an older one does not move it any more.
-- halted: why nothing is published, for whoever looks.
ALTER TABLE relay_position
    ADD COLUMN kafka_ends jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN generation bigint NOT NULL DEFAULT 0,
    ADD COLUMN halted text NOT NULL DEFAULT '';

-- Where a relay goes on, and whether it may: not into another Kafka than before, nor into one that lost records.
-- What is newer must not get there before what is missing; only an operator knows which Kafka is the right one.
CREATE FUNCTION begin_relay(name text, cluster text, ends jsonb) RETURNS relay_position LANGUAGE plpgsql AS $$
DECLARE
    known relay_position;
BEGIN
    INSERT INTO cluster_epoch (system_identifier, epoch)
        SELECT system_identifier, current_epoch() FROM pg_control_system() ON CONFLICT DO NOTHING;
    INSERT INTO relay_position (relay) VALUES (name) ON CONFLICT DO NOTHING;
    SELECT * INTO known FROM relay_position WHERE relay = name FOR UPDATE;
    IF known.kafka_cluster NOT IN ('', cluster) THEN
        known.halted := 'this is another Kafka cluster';
    ELSIF EXISTS (SELECT FROM jsonb_each_text(known.kafka_ends) b JOIN jsonb_each_text(ends) n USING (key)
                  WHERE n.value::bigint < b.value::bigint) THEN
        known.halted := 'Kafka lost records';
    ELSE
        known.halted := '';
        known.kafka_cluster := cluster;
        known.kafka_ends := known.kafka_ends || ends;
    END IF;
    UPDATE relay_position SET kafka_cluster = known.kafka_cluster, kafka_ends = known.kafka_ends, halted = known.halted
        WHERE relay = name AND (kafka_cluster, kafka_ends, halted)
            IS DISTINCT FROM (known.kafka_cluster, known.kafka_ends, known.halted);
    RETURN known;
END
$$;

-- Have everything since a time published again, with the same ids, into whatever Kafka the relay finds: how many.
CREATE FUNCTION rewind_relay(name text, since timestamptz) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    known relay_position;
    first record;
    again bigint := 0;
BEGIN
    SELECT * INTO known FROM relay_position WHERE relay = name FOR UPDATE;
    IF NOT FOUND THEN
        RETURN 0; -- never published: begins at the beginning anyway
    END IF;
    SELECT epoch, xid, seq INTO first FROM outbox WHERE created_at >= since ORDER BY epoch, xid, seq LIMIT 1;
    IF FOUND AND (first.epoch, first.xid, first.seq) <= (known.epoch, known.xid, known.seq) THEN
        SELECT count(*) INTO again FROM outbox o
            WHERE (o.epoch, o.xid, o.seq) >= (first.epoch, first.xid, first.seq)
                AND (o.epoch, o.xid, o.seq) <= (known.epoch, known.xid, known.seq);
        known.epoch := first.epoch;
        known.xid := first.xid;
        known.seq := first.seq - 1;
    END IF;
    UPDATE relay_position SET epoch = known.epoch, xid = known.xid, seq = known.seq, generation = generation + 1,
        kafka_cluster = '', kafka_ends = '{}', halted = '', updated_at = now() WHERE relay = name;
    RETURN again;
END
$$;

-- How far a relay is behind, and which transaction of the whole cluster holds it back. Counted to 10,000, then taken
-- from the sequence, which has gaps. holder is a pid, -1 a prepared transaction, 0 nobody.
CREATE FUNCTION outbox_backlog(name text, OUT unpublished bigint, OUT oldest_seconds double precision,
                               OUT holder integer, OUT holder_xid text) LANGUAGE plpgsql STABLE AS $$
DECLARE
    known relay_position;
    oldest record;
    behind xid8 := pg_snapshot_xmin(pg_current_snapshot());
BEGIN
    SELECT * INTO known FROM relay_position WHERE relay = name;
    SELECT seq, created_at INTO oldest FROM outbox
        WHERE (epoch, xid, seq) > (coalesce(known.epoch, 0), coalesce(known.xid, '0'), coalesce(known.seq, 0))
        ORDER BY epoch, xid, seq LIMIT 1;
    oldest_seconds := coalesce(extract(epoch FROM clock_timestamp() - oldest.created_at), 0);
    SELECT count(*) INTO unpublished FROM (
        SELECT FROM outbox
        WHERE (epoch, xid, seq) > (coalesce(known.epoch, 0), coalesce(known.xid, '0'), coalesce(known.seq, 0))
        LIMIT 10000) AS counted;
    IF unpublished = 10000 THEN
        SELECT greatest(unpublished, seq - oldest.seq + 1) INTO unpublished FROM outbox
            ORDER BY epoch DESC, xid DESC, seq DESC LIMIT 1;
    END IF;
    SELECT pid INTO holder FROM pg_stat_activity WHERE backend_xid = behind::xid;
    IF holder IS NULL THEN
        holder := CASE WHEN EXISTS (SELECT FROM pg_prepared_xacts WHERE transaction = behind::xid) THEN -1 ELSE 0 END;
    END IF;
    holder_xid := CASE WHEN holder <> 0 THEN behind::text END;
END
$$;

-- As it was, but for a relay that has never published: nothing of its outbox may leave yet.
CREATE OR REPLACE FUNCTION maintain_outbox(keep interval) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
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
        EXECUTE format('SELECT EXISTS (SELECT FROM %I o WHERE NOT EXISTS (SELECT FROM relay_position)
            OR (o.epoch, o.xid, o.seq) > (SELECT epoch, xid, seq FROM relay_position ORDER BY epoch, xid, seq LIMIT 1))',
            part.relname) INTO unpublished;
        IF NOT unpublished THEN
            EXECUTE format('DROP TABLE %I', part.relname);
        END IF;
    END LOOP;
END
$$;
