-- Who the archive's people are to the business: customers and leads that contacts are linked to, and what part each
-- conversation plays.
--
-- Customers, leads and staff are what the directory tells of them. `due` marks what the links were not made of yet;
-- a row that is deleted there keeps nothing but its name in the directory until that was done.
CREATE TABLE party (
    tenant_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('customer', 'lead')),
    party_id text NOT NULL,
    version integer NOT NULL,
    name text NOT NULL,
    numbers text[] NOT NULL,
    emails text[] NOT NULL,
    gstin text,
    deleted boolean NOT NULL DEFAULT false,
    due boolean NOT NULL DEFAULT true,
    PRIMARY KEY (tenant_id, kind, party_id)
);
CREATE INDEX party_due ON party (tenant_id) WHERE due;
SELECT protect('party');

CREATE TABLE staff (
    tenant_id uuid NOT NULL,
    staff_id text NOT NULL,
    version integer NOT NULL,
    name text NOT NULL,
    numbers text[] NOT NULL,
    deleted boolean NOT NULL DEFAULT false,
    due boolean NOT NULL DEFAULT true,
    PRIMARY KEY (tenant_id, staff_id)
);
CREATE INDEX staff_due ON staff (tenant_id) WHERE due;
SELECT protect('staff');

-- By what customers and leads can be known: numbers, tax numbers, addresses and folded names.
CREATE TABLE party_identity (
    tenant_id uuid NOT NULL,
    kind text NOT NULL,
    party_id text NOT NULL,
    identity text NOT NULL CHECK (identity IN ('number', 'gstin', 'email', 'name')),
    value text NOT NULL,
    PRIMARY KEY (tenant_id, kind, party_id, identity, value)
);
CREATE INDEX party_identity_value ON party_identity (tenant_id, value, identity);
SELECT protect('party_identity');

-- The same of contacts: their number and name, and what they wrote of themselves in a direct chat, and where.
CREATE TABLE contact_identity (
    tenant_id uuid NOT NULL,
    contact_id uuid NOT NULL,
    identity text NOT NULL CHECK (identity IN ('number', 'gstin', 'email', 'name')),
    value text NOT NULL,
    message_id uuid,
    PRIMARY KEY (tenant_id, contact_id, identity, value),
    FOREIGN KEY (tenant_id, contact_id) REFERENCES contact (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, message_id) REFERENCES message (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX contact_identity_message ON contact_identity (tenant_id, message_id) WHERE message_id IS NOT NULL;
CREATE INDEX contact_identity_value ON contact_identity (tenant_id, value, identity);
SELECT protect('contact_identity');

-- Contacts as they were last looked at, and those that have to be decided again.
CREATE TABLE contact_seen (
    tenant_id uuid NOT NULL,
    contact_id uuid NOT NULL,
    number text,
    name text NOT NULL,
    PRIMARY KEY (tenant_id, contact_id),
    FOREIGN KEY (tenant_id, contact_id) REFERENCES contact (tenant_id, id) ON DELETE CASCADE
);
SELECT protect('contact_seen');
CREATE TABLE link_due (
    tenant_id uuid NOT NULL,
    contact_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, contact_id),
    FOREIGN KEY (tenant_id, contact_id) REFERENCES contact (tenant_id, id) ON DELETE CASCADE
);
SELECT protect('link_due');

-- How a contact stands now: linked to one, ambiguous between several, only proposed by a name, or none because a
-- person said so. `evidence` holds every candidate with what speaks for it. A contact without a row has no candidate.
CREATE TABLE contact_link (
    tenant_id uuid NOT NULL,
    contact_id uuid NOT NULL,
    state text NOT NULL CHECK (state IN ('linked', 'ambiguous', 'proposed', 'none')),
    kind text,
    party_id text,
    by_person boolean NOT NULL,
    confidence real NOT NULL,
    evidence jsonb NOT NULL,
    decided_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, contact_id),
    CHECK ((state = 'linked') = (party_id IS NOT NULL)),
    FOREIGN KEY (tenant_id, contact_id) REFERENCES contact (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX contact_link_party ON contact_link (tenant_id, kind, party_id);
CREATE INDEX contact_link_open ON contact_link (tenant_id, state, contact_id) WHERE state IN ('ambiguous', 'proposed');
SELECT protect('contact_link');

-- Everything that was ever decided of a contact, by people and by the machine. What people said is read again whenever
-- the machine decides; nothing of it is changed, and it goes with the person alone.
CREATE TABLE link_decision (
    tenant_id uuid NOT NULL,
    number bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    contact_id uuid NOT NULL,
    decided_at timestamptz NOT NULL,
    by_person boolean NOT NULL,
    decided_by text NOT NULL,
    -- A person's: accept, refuse, again. The machine's: the state that it came to.
    action text NOT NULL,
    -- Of these customers and leads, as kind:id.
    parties text[] NOT NULL,
    why text NOT NULL,
    PRIMARY KEY (tenant_id, number),
    FOREIGN KEY (tenant_id, contact_id) REFERENCES contact (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX link_decision_contact ON link_decision (tenant_id, contact_id, number);
CREATE INDEX link_decision_person ON link_decision (tenant_id) WHERE by_person;
SELECT protect('link_decision', 'SELECT, INSERT');

-- What part a conversation plays, and why; a person's word stands until it is taken back.
CREATE TABLE chat_role (
    tenant_id uuid NOT NULL,
    chat_id uuid NOT NULL,
    role text NOT NULL CHECK (role IN ('client', 'lead', 'vendor', 'internal', 'personal', 'unknown')),
    by_person boolean NOT NULL,
    reason text NOT NULL,
    decided_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, chat_id),
    FOREIGN KEY (tenant_id, chat_id) REFERENCES chat (tenant_id, id) ON DELETE CASCADE
);
SELECT protect('chat_role');
CREATE TABLE role_decision (
    tenant_id uuid NOT NULL,
    number bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    chat_id uuid NOT NULL,
    decided_at timestamptz NOT NULL,
    decided_by text NOT NULL,
    -- Null takes what was said before back.
    role text,
    why text NOT NULL,
    PRIMARY KEY (tenant_id, number),
    FOREIGN KEY (tenant_id, chat_id) REFERENCES chat (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX role_decision_chat ON role_decision (tenant_id, chat_id, number);
SELECT protect('role_decision', 'SELECT, INSERT');

-- How far a tenant's ledger was read for what people wrote of themselves, at which of its lengths contacts were
-- compared, and behind which chat the roles are being told; null when all are told.
CREATE TABLE link_progress (
    tenant_id uuid PRIMARY KEY,
    next_leaf bigint NOT NULL,
    contacts_leaf bigint NOT NULL,
    roles_after uuid
);
SELECT protect('link_progress');
