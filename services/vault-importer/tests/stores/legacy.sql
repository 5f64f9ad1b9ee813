-- A store of 2019, as far as its tables are known; rows and numbers are invented.
CREATE TABLE messages (_id INTEGER PRIMARY KEY AUTOINCREMENT, key_remote_jid TEXT NOT NULL, key_from_me INTEGER,
    key_id TEXT NOT NULL, status INTEGER, needs_push INTEGER, data TEXT, timestamp INTEGER, media_url TEXT,
    media_mime_type TEXT, media_wa_type TEXT, media_size INTEGER, media_name TEXT, media_caption TEXT,
    media_hash TEXT, media_duration INTEGER, origin INTEGER, latitude REAL, longitude REAL, thumb_image TEXT,
    remote_resource TEXT, received_timestamp INTEGER, starred INTEGER, quoted_row_id INTEGER, mentioned_jids TEXT,
    forwarded INTEGER);
CREATE TABLE messages_quotes (_id INTEGER PRIMARY KEY AUTOINCREMENT, key_remote_jid TEXT NOT NULL,
    key_from_me INTEGER, key_id TEXT NOT NULL, data TEXT, timestamp INTEGER, media_wa_type TEXT,
    remote_resource TEXT);
CREATE TABLE chat_list (_id INTEGER PRIMARY KEY AUTOINCREMENT, key_remote_jid TEXT UNIQUE, subject TEXT);
CREATE TABLE receipts (_id INTEGER PRIMARY KEY AUTOINCREMENT, key_remote_jid TEXT NOT NULL, key_id TEXT NOT NULL,
    remote_resource TEXT, receipt_device_timestamp INTEGER, read_device_timestamp INTEGER,
    played_device_timestamp INTEGER);
CREATE TABLE group_participants (_id INTEGER PRIMARY KEY AUTOINCREMENT, gjid TEXT NOT NULL, jid TEXT NOT NULL,
    admin INTEGER, pending INTEGER);
CREATE TABLE messages_vcards (_id INTEGER PRIMARY KEY AUTOINCREMENT, message_row_id INTEGER, sender_jid TEXT,
    vcard TEXT);
CREATE TABLE props (_id INTEGER PRIMARY KEY, key TEXT, value TEXT);

INSERT INTO chat_list VALUES (1, '919847000010@s.whatsapp.net', NULL), (2, '120363000000000009@g.us', 'Old group');
INSERT INTO messages (_id, key_remote_jid, key_from_me, key_id, status, data, timestamp, media_wa_type,
    remote_resource, quoted_row_id, mentioned_jids, forwarded) VALUES
    (1, '-1', 0, '-1', -1, NULL, 0, '0', NULL, 0, NULL, 0),
    (2, '919847000010@s.whatsapp.net', 0, 'OLD1', 0, 'Rate today?', 1550000000000, '0', NULL, 0, NULL, 0),
    (3, '919847000010@s.whatsapp.net', 1, 'OLD2', 5, '5,200 a gram', 1550000060000, '0', NULL, 1, NULL, 1),
    (4, '120363000000000009@g.us', 0, 'OLD3', 0, 'See @919847000010', 1550000120000, '0',
     '919847000011@s.whatsapp.net', 0, '919847000010@s.whatsapp.net,919847000012@s.whatsapp.net', 0),
    (5, '120363000000000009@g.us', 1, 'OLD4', 13, NULL, 1550000180000, '0', '', 0, NULL, 0),
    (6, '120363000000000009@g.us', 0, 'OLD5', 6, NULL, 1550000240000, '0', '919847000011@s.whatsapp.net', 0, NULL, 0),
    (7, '919847000010@s.whatsapp.net', 0, 'OLD6', 0, NULL, 1550000300000, '15', NULL, 0, NULL, 0),
    (8, '919847000010@s.whatsapp.net', 0, 'OLD7', 0, NULL, 0, '0', NULL, 0, NULL, 0);
UPDATE messages SET media_wa_type = '1', media_mime_type = 'image/jpeg', media_size = 2048, media_caption = 'Bangle',
    media_hash = 'n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=' WHERE _id = 5;
UPDATE messages SET media_size = 12 WHERE _id = 6;
INSERT INTO messages (_id, key_remote_jid, key_from_me, key_id, timestamp, media_wa_type, latitude, longitude,
    media_name) VALUES (9, '919847000010@s.whatsapp.net', 0, 'OLD8', 1550000360000, '5', 9.93, 76.26, 'Marine Drive');
INSERT INTO messages_quotes VALUES (1, '919847000010@s.whatsapp.net', 0, 'OLD1', 'Rate today?', 1550000000000, '0', NULL),
    (2, 'status@broadcast', 0, 'S1', 'Nobody quotes this', 1550000000000, '0', '919847000010@s.whatsapp.net');
INSERT INTO receipts VALUES (1, '120363000000000009@g.us', 'OLD4', '919847000011@s.whatsapp.net', 1550000181000,
    1550000182000, 0), (2, '120363000000000009@g.us', 'LOST', '919847000011@s.whatsapp.net', 1550000181000, 0, 0);
INSERT INTO group_participants VALUES (1, '120363000000000009@g.us', '919847000011@s.whatsapp.net', 1, 0),
    (2, '120363000000000009@g.us', '', 0, 0);
INSERT INTO messages_vcards VALUES (1, 4, NULL, 'BEGIN:VCARD');
INSERT INTO props VALUES (1, 'x', 'y');
