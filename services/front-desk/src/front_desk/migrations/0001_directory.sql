-- Who works here, who calls, which numbers ring. Each row is an entity with its version; a deleted entity keeps
-- its row and its version, without its content, so that one that is made again continues the count.

CREATE TABLE tenant (
    tenant_id uuid PRIMARY KEY,
    slug text NOT NULL UNIQUE,
    version integer NOT NULL DEFAULT 1,
    name text NOT NULL,
    timezone text NOT NULL,
    active boolean NOT NULL DEFAULT true,
    owner_name text NOT NULL DEFAULT '',
    owner_email text NOT NULL DEFAULT '',
    pulse_at text NOT NULL DEFAULT '09:00',
    created_at timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz NOT NULL DEFAULT now()
);
SELECT protect('tenant', 'SELECT, INSERT, UPDATE');
SELECT open_to_system('tenant', 'SELECT');

CREATE TABLE staff (
    tenant_id uuid NOT NULL REFERENCES tenant,
    staff_id text NOT NULL,
    external_ref text NOT NULL,
    version integer NOT NULL DEFAULT 1,
    name text NOT NULL,
    numbers text[] NOT NULL DEFAULT '{}',
    active boolean NOT NULL DEFAULT true,
    working_hours jsonb NOT NULL DEFAULT '[]',
    changed_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    PRIMARY KEY (tenant_id, staff_id),
    UNIQUE (tenant_id, external_ref)
);
SELECT protect('staff', 'SELECT, INSERT, UPDATE');

CREATE TABLE staff_leave (
    tenant_id uuid NOT NULL,
    staff_id text NOT NULL,
    start_at timestamptz NOT NULL,
    until_at timestamptz CHECK (until_at > start_at),
    reason text NOT NULL DEFAULT '',
    PRIMARY KEY (tenant_id, staff_id, start_at),
    FOREIGN KEY (tenant_id, staff_id) REFERENCES staff
);
SELECT protect('staff_leave');

CREATE TABLE customer (
    tenant_id uuid NOT NULL REFERENCES tenant,
    customer_id text NOT NULL,
    external_ref text NOT NULL,
    version integer NOT NULL DEFAULT 1,
    name text NOT NULL,
    numbers text[] NOT NULL DEFAULT '{}',
    emails text[] NOT NULL DEFAULT '{}',
    gstin text,
    owner_staff_id text,
    changed_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    PRIMARY KEY (tenant_id, customer_id),
    UNIQUE (tenant_id, external_ref),
    FOREIGN KEY (tenant_id, owner_staff_id) REFERENCES staff
);
CREATE INDEX customer_owner ON customer (tenant_id, owner_staff_id) WHERE owner_staff_id IS NOT NULL;
SELECT protect('customer', 'SELECT, INSERT, UPDATE');

CREATE TABLE lead (
    tenant_id uuid NOT NULL REFERENCES tenant,
    lead_id text NOT NULL,
    external_ref text NOT NULL,
    version integer NOT NULL DEFAULT 1,
    name text NOT NULL,
    numbers text[] NOT NULL DEFAULT '{}',
    emails text[] NOT NULL DEFAULT '{}',
    owner_staff_id text,
    changed_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    PRIMARY KEY (tenant_id, lead_id),
    UNIQUE (tenant_id, external_ref),
    FOREIGN KEY (tenant_id, owner_staff_id) REFERENCES staff
);
CREATE INDEX lead_owner ON lead (tenant_id, owner_staff_id) WHERE owner_staff_id IS NOT NULL;
SELECT protect('lead', 'SELECT, INSERT, UPDATE');

-- Whose number it is. Unique over all tenants: uniqueness is enforced below row-level security, so a tenant that
-- claims a taken number learns that it is taken and nothing else.
CREATE TABLE did_claim (
    tenant_id uuid NOT NULL REFERENCES tenant,
    did text NOT NULL,
    PRIMARY KEY (tenant_id, did),
    CONSTRAINT did_has_one_tenant UNIQUE (did)
);
SELECT protect('did_claim', 'SELECT, INSERT, DELETE');

CREATE TABLE did (
    tenant_id uuid NOT NULL REFERENCES tenant,
    did text NOT NULL,
    version integer NOT NULL DEFAULT 1,
    label text NOT NULL DEFAULT '',
    default_staff_ids text[] NOT NULL DEFAULT '{}',
    fallback_number text,
    changed_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    PRIMARY KEY (tenant_id, did)
);
SELECT protect('did', 'SELECT, INSERT, UPDATE');

CREATE TABLE routing (
    tenant_id uuid PRIMARY KEY REFERENCES tenant,
    version integer NOT NULL DEFAULT 1,
    last_agent_days integer NOT NULL,
    ring_seconds integer NOT NULL,
    fallback_number text,
    blocked_numbers text[] NOT NULL DEFAULT '{}',
    changed_at timestamptz NOT NULL DEFAULT now()
);
SELECT protect('routing', 'SELECT, INSERT, UPDATE');

-- Every entity as the REST interface shows it and as its event carries it. Leave that is over is history, not state.
CREATE VIEW entity WITH (security_invoker = true) AS
SELECT tenant_id, 'tenant' AS kind, tenant_id::text AS ref, tenant_id::text AS id, version,
       NULL::timestamptz AS deleted_at,
       jsonb_build_object('slug', slug, 'name', name, 'timezone', timezone, 'active', active,
           'owner_name', owner_name, 'owner_email', owner_email, 'pulse_at', pulse_at) AS body
FROM tenant
UNION ALL
SELECT s.tenant_id, 'staff', s.external_ref, s.staff_id, s.version, s.deleted_at,
       jsonb_build_object('name', s.name, 'numbers', s.numbers, 'active', s.active,
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
           'owner_staff_id', c.owner_staff_id, 'owner', s.external_ref)
FROM customer c LEFT JOIN staff s ON s.tenant_id = c.tenant_id AND s.staff_id = c.owner_staff_id
UNION ALL
SELECT l.tenant_id, 'lead', l.external_ref, l.lead_id, l.version, l.deleted_at,
       jsonb_build_object('name', l.name, 'numbers', l.numbers, 'emails', l.emails,
           'owner_staff_id', l.owner_staff_id, 'owner', s.external_ref)
FROM lead l LEFT JOIN staff s ON s.tenant_id = l.tenant_id AND s.staff_id = l.owner_staff_id
UNION ALL
SELECT d.tenant_id, 'did', d.did, d.did, d.version, d.deleted_at,
       jsonb_build_object('label', d.label, 'default_staff_ids', d.default_staff_ids,
           'fallback_number', d.fallback_number, 'default_staff', coalesce((
               SELECT jsonb_agg(s.external_ref ORDER BY n.place)
               FROM unnest(d.default_staff_ids) WITH ORDINALITY AS n (staff_id, place)
               JOIN staff s ON s.tenant_id = d.tenant_id AND s.staff_id = n.staff_id), '[]'))
FROM did d
UNION ALL
SELECT tenant_id, 'routing', 'default', 'default', version, NULL,
       jsonb_build_object('last_agent_days', last_agent_days, 'ring_seconds', ring_seconds,
           'fallback_number', fallback_number, 'blocked_numbers', blocked_numbers)
FROM routing;
GRANT SELECT ON entity TO front_desk_app, front_desk_ro;
