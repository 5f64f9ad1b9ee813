-- What stands beside messages has leaves too: files of media, reactions, votes, and which identities are one person.
ALTER TABLE ledger_batch DROP CONSTRAINT ledger_batch_kind_check;
ALTER TABLE ledger_batch ADD CONSTRAINT ledger_batch_kind_check
    CHECK (kind IN ('message', 'import', 'audit', 'media', 'reaction', 'vote', 'identity'));

-- A leaf names a row by it, since nothing that is about a person may stand in the tree.
ALTER TABLE message_reaction ADD COLUMN number integer NOT NULL GENERATED ALWAYS AS IDENTITY;
ALTER TABLE message_poll_vote ADD COLUMN number integer NOT NULL GENERATED ALWAYS AS IDENTITY;
ALTER TABLE jid_alias ADD COLUMN number integer NOT NULL GENERATED ALWAYS AS IDENTITY;
CREATE UNIQUE INDEX jid_alias_number ON jid_alias (tenant_id, number);

-- The phone's own hash when the file was taken: that of `message_media` follows later backups. Null for older files.
ALTER TABLE message_media_file ADD COLUMN file_hash text;
