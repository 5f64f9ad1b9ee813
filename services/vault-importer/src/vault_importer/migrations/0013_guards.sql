-- Guards that could be passed: another wording goes only with the earlier one beside it, nothing of the archive is deleted
-- but by the functions of an erasure, and they work only for a request that the audit log tells of.

-- Who wrote a message, when, and where never changes. What it says changes by the next revision only.
DROP TRIGGER message_wording ON message;
CREATE TRIGGER message_wording BEFORE UPDATE ON message FOR EACH ROW
    WHEN ((OLD.tenant_id, OLD.id, OLD.chat_id, OLD.from_me, OLD.sender_id, OLD.sent_at)
            IS DISTINCT FROM (NEW.tenant_id, NEW.id, NEW.chat_id, NEW.from_me, NEW.sender_id, NEW.sent_at)
        OR (OLD.key_id, OLD.kind, OLD.raw_kind, OLD.text, OLD.revoked, OLD.edited_at, OLD.details, OLD.import_id,
                OLD.revision)
            IS DISTINCT FROM (NEW.key_id, NEW.kind, NEW.raw_kind, NEW.text, NEW.revoked, NEW.edited_at, NEW.details,
                NEW.import_id, NEW.revision)
        AND NEW.revision <> OLD.revision + 1)
    EXECUTE FUNCTION refuse_rewording();

-- Asked at the end of the statement, since the earlier wording is put aside by the same one.
CREATE FUNCTION demand_earlier_wording() RETURNS trigger LANGUAGE plpgsql SET search_path = vault_importer, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM message_revision r
            WHERE r.tenant_id = OLD.tenant_id AND r.message_id = OLD.id AND r.revision = OLD.revision
                AND (r.key_id, r.kind, r.raw_kind, r.text, r.revoked, r.edited_at, r.details, r.import_id)
                    IS NOT DISTINCT FROM (OLD.key_id, OLD.kind, OLD.raw_kind, OLD.text, OLD.revoked, OLD.edited_at,
                        OLD.details, OLD.import_id)) THEN
        RAISE EXCEPTION 'a wording is never changed: put the earlier one aside' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER message_earlier_wording AFTER UPDATE ON message FOR EACH ROW
    WHEN (OLD.revision <> NEW.revision) EXECUTE FUNCTION demand_earlier_wording();

-- The service changes names of people and chats, and imports until they end; it deletes none of them.
REVOKE DELETE ON contact, chat, import_run, import_lane, account FROM vault_importer_app;
REVOKE UPDATE, DELETE ON jid_alias FROM vault_importer_app;

-- Rows leave through the functions only, which say which erasure it is for.
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql SET search_path = vault_importer, pg_temp AS $$
BEGIN
    IF TG_LEVEL = 'ROW' AND current_user = TG_TABLE_SCHEMA || '_owner' AND (
            (TG_OP = 'DELETE' AND TG_TABLE_NAME IN ('message', 'message_revision', 'message_reaction',
                'message_poll_vote', 'message_media_file', 'media_file', 'jid_alias', 'contact', 'chat'))
            OR (TG_OP = 'UPDATE' AND TG_TABLE_NAME = 'ledger_opening')) THEN
        IF EXISTS (SELECT FROM erasure e WHERE e.tenant_id = OLD.tenant_id AND e.state = 'erasing'
                AND e.id::text = current_setting('app.erasing', true)) THEN
            IF TG_OP = 'UPDATE' THEN
                RETURN NEW;
            END IF;
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER ledger_opening_rows BEFORE UPDATE OR DELETE ON ledger_opening
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_opening_table BEFORE TRUNCATE ON ledger_opening
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER message_media_file_rows BEFORE UPDATE OR DELETE ON message_media_file
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER message_media_file_table BEFORE TRUNCATE ON message_media_file
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER media_file_rows BEFORE UPDATE OR DELETE ON media_file FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER media_file_table BEFORE TRUNCATE ON media_file FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER jid_alias_rows BEFORE UPDATE OR DELETE ON jid_alias FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER jid_alias_table BEFORE TRUNCATE ON jid_alias FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER contact_rows BEFORE DELETE ON contact FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER contact_table BEFORE TRUNCATE ON contact FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER chat_rows BEFORE DELETE ON chat FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER chat_table BEFORE TRUNCATE ON chat FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER import_run_rows BEFORE DELETE ON import_run FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER import_run_table BEFORE TRUNCATE ON import_run FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
-- What came of an import stands once it has ended.
CREATE TRIGGER import_run_ended BEFORE UPDATE ON import_run FOR EACH ROW WHEN (OLD.state <> 'started')
    EXECUTE FUNCTION refuse_change();

-- Whom an erasure is about and what was planned stand once it has begun, and it goes forward only.
CREATE FUNCTION refuse_other_erasure() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'an erasure that has begun is of whom it was planned for, and only goes forward'
        USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER erasure_begun BEFORE UPDATE ON erasure FOR EACH ROW
    WHEN (OLD.state IN ('locked', 'erasing', 'told', 'done', 'cancelled') AND (
        (OLD.tenant_id, OLD.id, OLD.subject_id, OLD.scope, OLD.asked_by, OLD.asked_at, OLD.plan_hash, OLD.contact_ids,
                OLD.chat_ids)
            IS DISTINCT FROM (NEW.tenant_id, NEW.id, NEW.subject_id, NEW.scope, NEW.asked_by, NEW.asked_at,
                NEW.plan_hash, NEW.contact_ids, NEW.chat_ids)
        OR (OLD.numbers, OLD.addresses) IS DISTINCT FROM (NEW.numbers, NEW.addresses)
            AND (NEW.numbers, NEW.addresses) IS DISTINCT FROM ('{}'::text[], '{}'::text[])
        OR OLD.state || ' ' || NEW.state NOT IN ('locked locked', 'locked erasing', 'locked cancelled',
            'erasing erasing', 'erasing told', 'told told', 'told done', 'done done', 'cancelled cancelled')))
    EXECUTE FUNCTION refuse_other_erasure();

-- The functions act in the owner's name, who reads of the audit log what is of the tenant at hand.
DO $$
BEGIN
    EXECUTE format('CREATE POLICY eraser ON audit_log FOR SELECT TO %I '
        || 'USING (tenant_id = current_setting(''app.tenant'')::uuid)', current_schema() || '_owner');
END
$$;

-- By what a request's records are found, and their leaves.
CREATE INDEX audit_log_erasure ON audit_log (tenant_id, (details->>'erasure')) WHERE details->>'erasure' IS NOT NULL;
CREATE INDEX ledger_batch_audit ON ledger_batch (tenant_id, ids) WHERE kind = 'audit';

-- Whether records of the audit log, with leaves of their own, tell that a request was asked for, that two approved it,
-- and that its plan was begun: nobody is erased without a trace that the tree holds.
CREATE FUNCTION erasure_on_record(who erasure) RETURNS boolean LANGUAGE sql STABLE AS $$
    WITH told AS (
        SELECT a.action, a.details FROM audit_log a
        WHERE a.tenant_id = who.tenant_id AND a.details->>'erasure' = who.id::text
            AND a.action IN ('erasure.asked', 'erasure.approved', 'erasure.begun')
            AND EXISTS (SELECT FROM ledger_batch b WHERE b.tenant_id = who.tenant_id AND b.kind = 'audit'
                AND b.ids = decode(lpad(to_hex(a.sequence), 32, '0'), 'hex'))
    )
    SELECT EXISTS (SELECT FROM told WHERE action = 'erasure.asked' AND details->>'by' = who.asked_by)
        AND EXISTS (SELECT FROM told WHERE action = 'erasure.begun' AND details->>'plan' = who.plan_hash)
        AND (SELECT count(DISTINCT a.approver) FROM erasure_approval a
            JOIN told t ON t.action = 'erasure.approved' AND t.details->>'by' = a.approver
            WHERE a.tenant_id = who.tenant_id AND a.erasure_id = who.id) >= 2
$$;

-- The request, if it may erase; else the reason why not.
CREATE OR REPLACE FUNCTION erasure_at_work(wanted uuid) RETURNS erasure LANGUAGE plpgsql STABLE AS $$
DECLARE
    found erasure;
BEGIN
    SELECT * INTO found FROM erasure WHERE tenant_id = current_setting('app.tenant')::uuid AND id = wanted;
    IF found.state IS DISTINCT FROM 'erasing' THEN
        RAISE EXCEPTION 'no erasure % is at work', wanted USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF (SELECT count(*) FROM erasure_approval a WHERE a.tenant_id = found.tenant_id AND a.erasure_id = wanted) < 2 THEN
        RAISE EXCEPTION 'erasure % has no two approvals', wanted USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NOT erasure_on_record(found) THEN
        RAISE EXCEPTION 'the audit log does not tell who asked for erasure %, approved it and began it', wanted
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF EXISTS (SELECT FROM legal_hold h WHERE h.tenant_id = found.tenant_id AND h.released_at IS NULL AND (
            (h.number IS NULL AND h.chat_id IS NULL) OR h.number = ANY (found.numbers)
            OR h.chat_id = ANY (found.chat_ids) OR EXISTS (
                SELECT FROM erasure_message e JOIN message m ON m.tenant_id = e.tenant_id AND m.id = e.message_id
                WHERE e.tenant_id = found.tenant_id AND e.erasure_id = wanted AND m.chat_id = h.chat_id))) THEN
        RAISE EXCEPTION 'a legal hold is on what erasure % reaches', wanted USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN found;
END
$$;

-- Destroy what opens some leaves: of what the request reaches, and of nothing else.
CREATE OR REPLACE FUNCTION destroy_openings(wanted uuid, leaves bigint[]) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = vault_importer, pg_temp AS $$
DECLARE
    who erasure := erasure_at_work(wanted);
    pack record;
    leaf bigint;
    packed bytea;
    destroyed bigint := 0;
BEGIN
    PERFORM set_config('app.erasing', wanted::text, true);
    FOR pack IN
        SELECT b.first_leaf, b.kind, b.ids, b.revisions, array_agg(l.leaf) AS wanted_leaves FROM unnest(leaves) l (leaf)
        CROSS JOIN LATERAL (SELECT first_leaf FROM ledger_batch WHERE tenant_id = who.tenant_id AND first_leaf <= l.leaf
            ORDER BY first_leaf DESC LIMIT 1) f
        JOIN ledger_batch b ON b.tenant_id = who.tenant_id AND b.first_leaf = f.first_leaf
        GROUP BY b.first_leaf, b.kind, b.ids, b.revisions ORDER BY b.first_leaf
    LOOP
        IF EXISTS (SELECT FROM unnest(pack.wanted_leaves) l (leaf), LATERAL (SELECT (l.leaf - pack.first_leaf)::integer
                ) at (place) WHERE NOT is_reached(who, pack.kind,
                    encode(substring(pack.ids FROM place * 16 + 1 FOR 16), 'hex')::uuid,
                    ('x' || encode(substring(pack.revisions FROM place * 4 + 1 FOR 4), 'hex'))::bit(32)::integer)) THEN
            RAISE EXCEPTION 'erasure % does not reach this leaf', wanted USING ERRCODE = 'insufficient_privilege';
        END IF;
        SELECT openings INTO packed FROM ledger_opening
            WHERE tenant_id = who.tenant_id AND first_leaf = pack.first_leaf FOR UPDATE;
        CONTINUE WHEN packed IS NULL;
        FOREACH leaf IN ARRAY pack.wanted_leaves LOOP
            packed := overlay(packed PLACING decode(repeat('00', 32), 'hex')
                FROM (leaf - pack.first_leaf)::integer * 32 + 1 FOR 32);
        END LOOP;
        UPDATE ledger_opening SET openings = packed WHERE tenant_id = who.tenant_id AND first_leaf = pack.first_leaf;
        destroyed := destroyed + cardinality(pack.wanted_leaves);
    END LOOP;
    PERFORM set_config('app.erasing', '', true);
    RETURN destroyed;
END
$$;
