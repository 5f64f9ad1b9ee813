-- What a store of 2026 holds beside the messages of the fixture; rows and numbers are invented.
INSERT INTO jid VALUES (300, '919847000010', 's.whatsapp.net', 0, 0, 0, '919847000010@s.whatsapp.net');
INSERT INTO jid VALUES (301, '919847000011', 's.whatsapp.net', 0, 0, 0, '919847000011@s.whatsapp.net');
INSERT INTO jid VALUES (302, '70000000000301', 'lid', 0, 0, 18, '70000000000301@lid');
INSERT INTO jid VALUES (303, 'status', 'broadcast', 0, 0, 5, 'status@broadcast');
INSERT INTO jid VALUES (304, '120363000000000001', 'g.us', 0, 0, 1, '120363000000000001@g.us');
INSERT INTO jid VALUES (305, '120363000000000002', 'newsletter', 0, 0, 1, '120363000000000002@newsletter');
CREATE TABLE jid_map (lid_row_id INTEGER PRIMARY KEY, jid_row_id INTEGER, sort_id INTEGER);
INSERT INTO jid_map VALUES (302, 301, 0);
INSERT INTO chat (_id, jid_row_id, subject) VALUES (150, 304, 'Kochi traders'), (151, 305, 'Price list');

INSERT INTO message (_id, chat_row_id, from_me, key_id, sender_jid_row_id, timestamp, message_type, text_data) VALUES
    (8001, 19, 0, 'PHOTO1', 300, 1700000001000, 1, NULL),
    (8002, 19, 0, 'REPLY1', 302, 1700000002000, 0, 'As quoted'),
    (8003, 19, 1, 'POLL1', 0, 1700000003000, 66, NULL),
    (8004, 148, 0, 'CARD1', 0, 1700000004000, 4, NULL),
    (8005, 19, 0, 'EVENT1', 300, 1700000005000, 92, 'Opening'),
    (8006, 148, 1, 'STATUSREPLY1', 0, 1700000006000, 0, 'Well done');
INSERT INTO message_media (message_row_id, file_path, file_size, file_length, mime_type, media_name, media_caption,
    file_hash, width, height, media_duration, page_count) VALUES
    (8001, 'Media/WhatsApp Images/IMG-1.jpg', 0, 1234, 'image/jpeg', 'IMG-1.jpg', 'The bill',
     'n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=', 640, 480, 0, 0);
INSERT INTO message_quoted (message_row_id, chat_row_id, parent_message_chat_row_id, from_me, sender_jid_row_id,
    key_id, timestamp, message_type, text_data) VALUES (8002, 19, 19, 0, 300, 'PHOTO1', 1700000001000, 1, 'The bill');
ALTER TABLE message_quoted ADD COLUMN quoted_source INTEGER;
INSERT INTO message_quoted (message_row_id, chat_row_id, parent_message_chat_row_id, from_me, sender_jid_row_id,
    key_id, timestamp, message_type, text_data, quoted_source)
    VALUES (8006, 19, 148, 0, 300, 'GONE', 1700000001000, 1, 'Gold', 1);
CREATE TABLE message_mentions (_id INTEGER PRIMARY KEY, message_row_id INTEGER, jid_row_id INTEGER,
    display_name TEXT, mention_type INTEGER);
INSERT INTO message_mentions VALUES (1, 8002, 300, 'Reception desk', 0), (2, 8002, 304, NULL, 1);

CREATE TABLE message_add_on (_id INTEGER PRIMARY KEY, chat_row_id INTEGER, from_me INTEGER, key_id TEXT,
    sender_jid_row_id INTEGER, parent_message_row_id INTEGER, timestamp INTEGER, status INTEGER,
    message_add_on_type INTEGER);
CREATE TABLE message_add_on_reaction (message_add_on_row_id INTEGER PRIMARY KEY, reaction TEXT,
    sender_timestamp INTEGER);
INSERT INTO message_add_on VALUES
    (1, 19, 0, 'R1', 300, 750, 1700000010000, 0, 56), (2, 19, 1, 'R2', -1, 8001, 1700000011000, 0, 56),
    (3, 148, 0, 'R3', 0, 8006, 1700000012000, 0, 56), (4, 19, 0, 'V1', 300, 8003, 1700000013000, 0, 67),
    (5, 19, 0, 'P1', 302, 8001, 1700000014000, 0, 79), (6, 19, 0, 'E1', 302, 8005, 1700000015000, 0, 93),
    (7, 19, 0, 'R4', 300, 99999, 1700000016000, 0, 56), (8, 19, 0, 'X1', 300, 8001, 1700000017000, 0, 250);
INSERT INTO message_add_on_reaction VALUES (1, '👍', 1700000010000), (2, '', 1700000011000),
    (3, '❤', 1700000012000), (7, '👍', 1700000016000), (77, '👍', 1700000016000);
CREATE TABLE message_add_on_pin_in_chat (message_add_on_row_id INTEGER PRIMARY KEY, type INTEGER, duration INTEGER);
INSERT INTO message_add_on_pin_in_chat VALUES (5, 1, 604800);
CREATE TABLE message_add_on_event_response (message_add_on_row_id INTEGER PRIMARY KEY, response INTEGER);
INSERT INTO message_add_on_event_response VALUES (6, 1);

CREATE TABLE message_poll (message_row_id INTEGER PRIMARY KEY, enc_key BLOB, selectable_options_count INTEGER);
INSERT INTO message_poll VALUES (8003, x'00ff', 1);
CREATE TABLE message_poll_option (_id INTEGER PRIMARY KEY, message_row_id INTEGER, option_sha256 TEXT,
    option_name TEXT, vote_total INTEGER);
INSERT INTO message_poll_option VALUES (10, 8003, 'a', 'Monday', 0), (11, 8003, 'b', 'Tuesday', 1);
CREATE TABLE message_add_on_poll_vote (message_add_on_row_id INTEGER PRIMARY KEY, sender_timestamp INTEGER);
INSERT INTO message_add_on_poll_vote VALUES (4, 1700000013500);
CREATE TABLE message_add_on_poll_vote_selected_option (_id INTEGER PRIMARY KEY, message_add_on_row_id INTEGER,
    message_poll_option_id INTEGER);
INSERT INTO message_add_on_poll_vote_selected_option VALUES (1, 4, 11), (2, 4, 99);

CREATE TABLE receipt_user (_id INTEGER PRIMARY KEY, message_row_id INTEGER, receipt_user_jid_row_id INTEGER,
    receipt_timestamp INTEGER, read_timestamp INTEGER, played_timestamp INTEGER);
INSERT INTO receipt_user VALUES (1, 750, 300, 1700000020000, 1700000021000, 0),
    (2, 750, 302, 1700000020000, -1, NULL), (3, 55555, 300, 1700000020000, 0, 0), (4, 750, 999, 1, 0, 0);

INSERT INTO message_vcard VALUES (1, 8004, 'BEGIN:VCARD'), (2, 8004, 'BEGIN:VCARD 2');
CREATE TABLE message_event (message_row_id INTEGER PRIMARY KEY, name TEXT, start_time INTEGER, "order" INTEGER);
INSERT INTO message_event VALUES (8005, 'Opening', 1700900000000, 3);
CREATE TABLE message_ephemeral (message_row_id INTEGER PRIMARY KEY, duration INTEGER, expire_timestamp INTEGER);
INSERT INTO message_ephemeral VALUES (8002, 86400, 1700086402000), (66666, 1, 1);
CREATE TABLE message_link (_id INTEGER PRIMARY KEY, message_row_id INTEGER, link_index INTEGER);
INSERT INTO message_link VALUES (1, 8002, 0);
CREATE TABLE message_association (_id INTEGER PRIMARY KEY, child_message_row_id INTEGER,
    parent_message_row_id INTEGER, association_type INTEGER);
INSERT INTO message_association VALUES (1, 8001, 8002, 2);
CREATE TABLE message_product (message_row_id INTEGER PRIMARY KEY, business_owner_jid INTEGER, title TEXT,
    amount_1000 INTEGER, currency_code TEXT, picture BLOB);
INSERT INTO message_product VALUES (8004, 300, 'Cement', 380000, 'INR', zeroblob(9000));
CREATE TABLE message_thumbnail (message_row_id INTEGER PRIMARY KEY, thumbnail BLOB);
INSERT INTO message_thumbnail VALUES (8001, x'ffd8');
CREATE TABLE wa_nobody_knows (_id INTEGER PRIMARY KEY, x TEXT);
INSERT INTO wa_nobody_knows VALUES (1, 'a'), (2, 'b');

INSERT INTO call_log (_id, jid_row_id, from_me, call_id, transaction_id, timestamp, video_call, duration, call_result)
    VALUES (1, 300, 0, 'CALL1', -1, 1700000030000, 0, 62, 5), (2, 302, 1, 'CALL2', -1, 1700000031000, 1, 0, 2);
CREATE TABLE call_log_participant_v2 (_id INTEGER PRIMARY KEY, call_log_row_id INTEGER, jid_row_id INTEGER,
    call_result INTEGER);
INSERT INTO call_log_participant_v2 VALUES (1, 1, 300, 5), (2, 88, 300, 5);
CREATE TABLE group_participant_user (_id INTEGER PRIMARY KEY, group_jid_row_id INTEGER, user_jid_row_id INTEGER,
    rank INTEGER, pending INTEGER, add_timestamp INTEGER);
INSERT INTO group_participant_user VALUES (1, 254, 300, 1, 0, 1600000000000), (2, 254, 302, 0, 0, 0),
    (3, 305, 300, 0, 0, 0), (4, 999, 300, 0, 0, 0);
CREATE TABLE group_past_participant_user (_id INTEGER PRIMARY KEY, group_jid_row_id INTEGER,
    user_jid_row_id INTEGER, is_leave INTEGER, timestamp INTEGER);
INSERT INTO group_past_participant_user VALUES (1, 254, 252, 1, 1650000000000);
CREATE TABLE community_chat (chat_row_id INTEGER PRIMARY KEY, last_activity_ts INTEGER, join_ts INTEGER,
    closed INTEGER);
INSERT INTO community_chat VALUES (150, 1700000000000, 1600000000000, 0), (777, 1, 1, 0);
CREATE TABLE newsletter (chat_row_id INTEGER PRIMARY KEY, name TEXT, subscribers_count INTEGER);
INSERT INTO newsletter VALUES (151, 'Price list', 12);
CREATE TABLE parent_group_participants (_id INTEGER PRIMARY KEY, parent_group_jid_row_id INTEGER,
    user_jid_row_id INTEGER);
INSERT INTO parent_group_participants VALUES (1, 304, 300);
CREATE TABLE labels (_id INTEGER PRIMARY KEY, label_name TEXT, color_id INTEGER);
INSERT INTO labels VALUES (1, 'New customer', 3);
CREATE TABLE labeled_jid (_id INTEGER PRIMARY KEY, label_id INTEGER, jid_row_id INTEGER);
INSERT INTO labeled_jid VALUES (1, 1, 252), (2, 1, 301);
CREATE TABLE quick_replies (_id INTEGER PRIMARY KEY, title TEXT, content TEXT);
INSERT INTO quick_replies VALUES (1, '/rate', 'Todays rate is');
