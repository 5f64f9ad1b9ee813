-- Files of media, kept in a folder under the hash of what they hold, and which message each belongs to.

CREATE TABLE media_file (
    tenant_id uuid NOT NULL,
    sha256 bytea NOT NULL CHECK (length(sha256) = 32),
    bytes bigint NOT NULL,
    first_import_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, sha256)
);
SELECT protect('media_file', 'SELECT, INSERT');

CREATE TABLE message_media_file (
    tenant_id uuid NOT NULL,
    message_id uuid NOT NULL,
    sha256 bytea NOT NULL,
    -- Whether the phone's own hash of what was sent or received is that of the file.
    hash_agrees boolean NOT NULL,
    import_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, message_id),
    FOREIGN KEY (tenant_id, sha256) REFERENCES media_file (tenant_id, sha256)
);
CREATE INDEX message_media_file_sha256 ON message_media_file (tenant_id, sha256);
SELECT protect('message_media_file', 'SELECT, INSERT');
