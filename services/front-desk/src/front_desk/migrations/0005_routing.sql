-- Routing as data: groups, calendars, diversions, what people can do, and every version that the routing ever had.

ALTER TABLE staff
    ADD COLUMN skills text[] NOT NULL DEFAULT '{}',
    ADD COLUMN capacity integer NOT NULL DEFAULT 1,
    ADD COLUMN wrap_up_seconds integer;

ALTER TABLE customer
    ADD COLUMN vip boolean NOT NULL DEFAULT false,
    ADD COLUMN language text NOT NULL DEFAULT '';

-- Groups and calendars are the routing's, named. Whoever writes a DID or the routing holds the routing's key, so
-- that neither loses what the other names meanwhile.
ALTER TABLE did
    ADD COLUMN default_group text,
    ADD COLUMN calendar text,
    ADD COLUMN skills text[] NOT NULL DEFAULT '{}',
    ADD COLUMN menu jsonb NOT NULL DEFAULT '[]';

ALTER TABLE routing
    ADD COLUMN groups jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN calendars jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN default_calendar text,
    ADD COLUMN after_hours jsonb,
    ADD COLUMN overflow jsonb,
    ADD COLUMN vip jsonb,
    ADD COLUMN vip_numbers text[] NOT NULL DEFAULT '{}',
    ADD COLUMN vip_any_hour boolean NOT NULL DEFAULT true,
    ADD COLUMN spam_limit integer,
    ADD COLUMN spam jsonb,
    ADD COLUMN emergency jsonb,
    ADD COLUMN claim_agents boolean NOT NULL DEFAULT false,
    ADD COLUMN wrap_up_seconds integer NOT NULL DEFAULT 0,
    ADD COLUMN max_hops integer NOT NULL DEFAULT 5;

-- What the routing was, whole, as the REST interface shows it. The service can add to it and read it, nothing else.
CREATE TABLE routing_version (
    tenant_id uuid NOT NULL REFERENCES tenant,
    version integer NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now(),
    changed_by text NOT NULL,
    why text NOT NULL DEFAULT '',
    body jsonb NOT NULL,
    PRIMARY KEY (tenant_id, version)
);

-- The versions that are there when history begins. Not even the owner sees rows of a table under forced security.
ALTER TABLE routing NO FORCE ROW LEVEL SECURITY;
INSERT INTO routing_version (tenant_id, version, changed_at, changed_by, body)
SELECT tenant_id, version, changed_at, 'before history was kept',
       to_jsonb(r) - '{tenant_id,version,changed_at}'::text[]
FROM routing r;
ALTER TABLE routing FORCE ROW LEVEL SECURITY;
SELECT protect('routing_version', 'SELECT, INSERT');

CREATE OR REPLACE VIEW entity WITH (security_invoker = true) AS
SELECT tenant_id, 'tenant' AS kind, tenant_id::text AS ref, tenant_id::text AS id, version,
       NULL::timestamptz AS deleted_at,
       jsonb_build_object('slug', slug, 'name', name, 'timezone', timezone, 'active', active,
           'owner_name', owner_name, 'owner_email', owner_email, 'pulse_at', pulse_at) AS body
FROM tenant
UNION ALL
SELECT s.tenant_id, 'staff', s.external_ref, s.staff_id, s.version, s.deleted_at,
       jsonb_build_object('name', s.name, 'numbers', s.numbers, 'active', s.active, 'skills', s.skills,
           'capacity', s.capacity, 'wrap_up_seconds', s.wrap_up_seconds,
           'working_hours', s.working_hours, 'leave', coalesce((
               SELECT jsonb_agg(jsonb_build_object('start', l.start_at, 'until', l.until_at, 'reason', l.reason)
                   ORDER BY l.start_at)
               FROM staff_leave l
               WHERE l.tenant_id = s.tenant_id AND l.staff_id = s.staff_id
                   AND (l.until_at IS NULL OR l.until_at > now())), '[]'))
FROM staff s
UNION ALL
SELECT c.tenant_id, 'customer', c.external_ref, c.customer_id, c.version, c.deleted_at,
       jsonb_build_object('name', c.name, 'numbers', c.numbers, 'emails', c.emails, 'gstin', c.gstin,
           'vip', c.vip, 'language', c.language, 'owner_staff_id', c.owner_staff_id, 'owner', s.external_ref)
FROM customer c LEFT JOIN staff s ON s.tenant_id = c.tenant_id AND s.staff_id = c.owner_staff_id
UNION ALL
SELECT l.tenant_id, 'lead', l.external_ref, l.lead_id, l.version, l.deleted_at,
       jsonb_build_object('name', l.name, 'numbers', l.numbers, 'emails', l.emails,
           'owner_staff_id', l.owner_staff_id, 'owner', s.external_ref)
FROM lead l LEFT JOIN staff s ON s.tenant_id = l.tenant_id AND s.staff_id = l.owner_staff_id
UNION ALL
SELECT d.tenant_id, 'did', d.did, d.did, d.version, d.deleted_at,
       jsonb_build_object('label', d.label, 'default_staff_ids', d.default_staff_ids,
           'fallback_number', d.fallback_number, 'default_group', d.default_group, 'calendar', d.calendar,
           'skills', d.skills, 'menu', d.menu, 'default_staff', coalesce((
               SELECT jsonb_agg(s.external_ref ORDER BY n.place)
               FROM unnest(d.default_staff_ids) WITH ORDINALITY AS n (staff_id, place)
               JOIN staff s ON s.tenant_id = d.tenant_id AND s.staff_id = n.staff_id), '[]'))
FROM did d
UNION ALL
SELECT o.tenant_id, 'routing', 'default', 'default', o.version, NULL,
       jsonb_build_object('last_agent_days', o.last_agent_days, 'ring_seconds', o.ring_seconds,
           'fallback_number', o.fallback_number, 'blocked_numbers', o.blocked_numbers, 'calendars', o.calendars,
           'default_calendar', o.default_calendar, 'after_hours', o.after_hours, 'overflow', o.overflow,
           'vip', o.vip, 'vip_numbers', o.vip_numbers, 'vip_any_hour', o.vip_any_hour, 'spam_limit', o.spam_limit,
           'spam', o.spam, 'emergency', o.emergency, 'claim_agents', o.claim_agents,
           'wrap_up_seconds', o.wrap_up_seconds, 'max_hops', o.max_hops, 'groups', coalesce((
               SELECT jsonb_agg(g.body || jsonb_build_object('staff', coalesce((
                       SELECT jsonb_agg(s.external_ref ORDER BY n.place)
                       FROM jsonb_array_elements_text(g.body -> 'staff_ids') WITH ORDINALITY AS n (staff_id, place)
                       JOIN staff s ON s.tenant_id = o.tenant_id AND s.staff_id = n.staff_id), '[]'))
                   ORDER BY g.place)
               FROM jsonb_array_elements(o.groups) WITH ORDINALITY AS g (body, place)), '[]'))
FROM routing o;
