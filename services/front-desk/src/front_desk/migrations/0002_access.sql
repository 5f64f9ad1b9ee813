-- Who may come in: keys of programs, users of the console, their sessions, and who keeps guessing.

-- Only a hash of the secret is kept. It is a plain SHA-256: the secret has 256 random bits, so there is nothing to
-- guess, and a slow hash would only make every request slow.
CREATE TABLE api_key (
    tenant_id uuid NOT NULL REFERENCES tenant,
    key_id text NOT NULL UNIQUE,
    label text NOT NULL,
    secret_sha256 bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz,
    revoked_at timestamptz,
    PRIMARY KEY (tenant_id, key_id)
);
SELECT protect('api_key', 'SELECT, INSERT, UPDATE');
SELECT open_to_system('api_key', 'SELECT, UPDATE (last_used_at)');

CREATE TABLE app_user (
    tenant_id uuid NOT NULL REFERENCES tenant,
    user_id uuid NOT NULL,
    email text NOT NULL UNIQUE,
    password_hash text NOT NULL,
    role text NOT NULL CHECK (role IN ('owner', 'desk', 'ops', 'admin')),
    created_at timestamptz NOT NULL DEFAULT now(),
    disabled_at timestamptz,
    PRIMARY KEY (tenant_id, user_id)
);
SELECT protect('app_user', 'SELECT, INSERT, UPDATE');
SELECT open_to_system('app_user', 'SELECT');

CREATE TABLE console_session (
    tenant_id uuid NOT NULL,
    token_sha256 bytea NOT NULL UNIQUE,
    user_id uuid NOT NULL,
    csrf text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, token_sha256),
    FOREIGN KEY (tenant_id, user_id) REFERENCES app_user ON DELETE CASCADE
);
CREATE INDEX console_session_user ON console_session (tenant_id, user_id);
CREATE INDEX console_session_expiry ON console_session (expires_at);
SELECT protect('console_session', 'SELECT, INSERT, DELETE');
SELECT open_to_system('console_session', 'SELECT, DELETE');

-- Failed sign-ins by a hash of who tried. Nobody is signed in yet, so the rows belong to the nil tenant.
CREATE TABLE sign_in_failure (
    tenant_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    subject_sha256 bytea NOT NULL,
    failures integer NOT NULL,
    window_ends_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, subject_sha256)
);
SELECT protect('sign_in_failure', 'SELECT');
SELECT open_to_system('sign_in_failure');
