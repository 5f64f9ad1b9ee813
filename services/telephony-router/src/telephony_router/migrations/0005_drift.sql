-- Fields that vendors send and we do not know, or with another kind of value than we know: how often, since when, and the
-- shape of the first one.
CREATE TABLE drift (
    tenant_id uuid NOT NULL,
    vendor text NOT NULL,
    field text NOT NULL,
    change text NOT NULL CHECK (change IN ('unknown', 'type')),
    hook text NOT NULL,
    sample text NOT NULL,
    seen bigint NOT NULL,
    first_seen timestamptz NOT NULL,
    last_seen timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, vendor, field, change)
);
SELECT protect('drift', 'SELECT, INSERT, UPDATE');
