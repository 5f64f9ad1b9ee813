"""Nothing but a harmless question about the projections gets past the lint."""

from __future__ import annotations

import pytest

from anomaly_engine.lint import executable

REQUIRES = ("call", "fact")
T = "began_at < :as_of"
W = f"SELECT call_id FROM call WHERE {T}"

ATTACKS = {
    # Statements that are no question.
    "insert": "INSERT INTO call (call_id) VALUES (:as_of)",
    "update": "UPDATE call SET state = 'ok' WHERE began_at < :as_of",
    "delete": "DELETE FROM call WHERE began_at < :as_of",
    "truncate": "TRUNCATE call",
    "drop": "DROP TABLE call",
    "create": "CREATE TABLE x AS SELECT * FROM call WHERE began_at < :as_of",
    "create function": "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "alter": "ALTER TABLE call DISABLE ROW LEVEL SECURITY",
    "grant": "GRANT ALL ON call TO PUBLIC",
    "merge": "MERGE INTO call USING fact ON true WHEN MATCHED THEN DELETE",
    "copy to program": "COPY call TO PROGRAM 'id'",
    "copy from": "COPY call FROM '/etc/passwd'",
    "do block": "DO $$ BEGIN PERFORM pg_sleep(9); END $$",
    "call procedure": "CALL forget(:as_of)",
    "explain analyze": "EXPLAIN ANALYZE DELETE FROM call",
    "set role": "SET ROLE postgres",
    "set tenant": "SET app.tenant = '00000000-0000-0000-0000-000000000000'",
    "reset": "RESET ALL",
    "show": "SHOW ALL",
    "listen": "LISTEN x",
    "notify": "NOTIFY x",
    "lock": "LOCK TABLE call",
    "vacuum": "VACUUM call",
    "begin": "BEGIN",
    "commit": "COMMIT",
    "prepare": "PREPARE p AS SELECT 1",
    "execute": "EXECUTE p",
    "discard": "DISCARD ALL",
    "checkpoint": "CHECKPOINT",
    "comment": "COMMENT ON TABLE call IS 'x'",
    "security label": "SECURITY LABEL ON TABLE call IS 'x'",
    "refresh": "REFRESH MATERIALIZED VIEW call",
    "values": "VALUES (:as_of)",
    "empty": "",
    "only a comment": "-- nothing",
    # More than one statement.
    "two statements": f"{W}; DROP TABLE call",
    "two questions": f"{W}; {W}",
    "commit and go on": f"{W}; COMMIT; DELETE FROM call",
    "hidden after a comment": f"{W} /* harmless */ ; DELETE FROM call",
    # Writing within a question.
    "delete in with": f"WITH d AS (DELETE FROM call RETURNING call_id) SELECT * FROM d WHERE {T}",
    "update in with": f"WITH d AS (UPDATE call SET state = 'x' RETURNING *) SELECT * FROM d WHERE {T}",
    "insert in with": f"WITH d AS (INSERT INTO call SELECT * FROM call RETURNING *) SELECT * FROM d WHERE {T}",
    "select into": f"SELECT * INTO x FROM call WHERE {T}",
    "for update": f"{W} FOR UPDATE",
    "for share": f"{W} FOR SHARE",
    "for no key update": f"{W} FOR NO KEY UPDATE SKIP LOCKED",
    "in a subquery": f"SELECT * FROM (DELETE FROM call RETURNING *) d WHERE {T}",
    # Functions that do more than compute.
    "sleep": f"SELECT pg_sleep(10) FROM call WHERE {T}",
    "sleep in where": f"{W} AND pg_sleep(10) IS NULL",
    "sleep in order": f"{W} ORDER BY pg_sleep(10)",
    "sleep qualified": f"SELECT pg_catalog.pg_sleep(10) FROM call WHERE {T}",
    "sleep quoted": f'SELECT "pg_sleep"(10) FROM call WHERE {T}',
    "sleep until": f"SELECT pg_sleep_until(:as_of) FROM call WHERE {T}",
    "set_config": f"SELECT set_config('app.tenant', 'x', false) FROM call WHERE {T}",
    "current_setting": f"SELECT current_setting('app.tenant') FROM call WHERE {T}",
    "nextval": f"SELECT nextval('s') FROM call WHERE {T}",
    "setval": f"SELECT setval('s', 1) FROM call WHERE {T}",
    "advisory lock": f"SELECT pg_advisory_lock(1) FROM call WHERE {T}",
    "terminate": f"SELECT pg_terminate_backend(1) FROM call WHERE {T}",
    "cancel": f"SELECT pg_cancel_backend(1) FROM call WHERE {T}",
    "reload": f"SELECT pg_reload_conf() FROM call WHERE {T}",
    "read file": f"SELECT pg_read_file('/etc/passwd') FROM call WHERE {T}",
    "read binary file": f"SELECT pg_read_binary_file('/etc/passwd') FROM call WHERE {T}",
    "list folder": f"SELECT * FROM pg_ls_dir('.') WHERE {T}",
    "large object import": f"SELECT lo_import('/etc/passwd') FROM call WHERE {T}",
    "large object create": f"SELECT lo_create(0) FROM call WHERE {T}",
    "large object export": f"SELECT lo_export(1, '/tmp/x') FROM call WHERE {T}",
    "dblink": f"SELECT * FROM dblink('dbname=x', 'DELETE FROM call') AS t(a int) WHERE {T}",
    "dblink_exec": f"SELECT dblink_exec('DELETE FROM call') FROM call WHERE {T}",
    "query_to_xml": f"SELECT query_to_xml('DELETE FROM call', true, true, '') FROM call WHERE {T}",
    "table_to_xml": f"SELECT table_to_xml('call', true, true, '') FROM call WHERE {T}",
    "database_to_xml": f"SELECT database_to_xml(true, true, '') FROM call WHERE {T}",
    "ts_stat": f"SELECT * FROM ts_stat('DELETE FROM call') WHERE {T}",
    "own function": f"SELECT maintain_outbox(interval '0') FROM call WHERE {T}",
    "repeat": f"SELECT repeat('x', 1000000000) FROM call WHERE {T}",
    "generate_series": f"SELECT * FROM generate_series(1, 1000000000) WHERE {T}",
    "lpad": f"SELECT lpad('x', 1000000000) FROM call WHERE {T}",
    "regexp": f"SELECT regexp_replace(call_id, '(a+)+b', 'x') FROM call WHERE {T}",
    "regexp operator": f"{W} AND call_id ~ '(a+)+b'",
    "similar to": f"{W} AND call_id SIMILAR TO '(a|b)*c'",
    "random": f"SELECT random() FROM call WHERE {T}",
    "version": f"SELECT version() FROM call WHERE {T}",
    "user": f"SELECT current_user FROM call WHERE {T}",
    "session user": f"SELECT session_user FROM call WHERE {T}",
    "notify function": f"SELECT pg_notify('x', 'y') FROM call WHERE {T}",
    "transaction id": f"SELECT pg_current_xact_id() FROM call WHERE {T}",
    "has privilege": f"SELECT has_table_privilege('call', 'select') FROM call WHERE {T}",
    "to_regclass": f"SELECT to_regclass('pg_authid') FROM call WHERE {T}",
    "cast to regclass": f"SELECT 'pg_authid'::regclass FROM call WHERE {T}",
    "cast to oid": f"SELECT 1::oid FROM call WHERE {T}",
    "cast to xml": f"SELECT '<x/>'::xml FROM call WHERE {T}",
    "cast to own type": f"SELECT 'x'::my_type FROM call WHERE {T}",
    "cast to array": f"SELECT '{{1}}'::int[] FROM call WHERE {T}",
    "operator by name": f"SELECT 1 OPERATOR(pg_catalog.+) 1 FROM call WHERE {T}",
    "attribute notation": f"SELECT (c).call_id FROM call c WHERE {T}",
    "array": f"SELECT ARRAY(SELECT call_id FROM call) FROM call WHERE {T}",
    "json": f"SELECT to_jsonb(c) FROM call c WHERE {T}",
    # Tables that are none of a rule's business.
    "other table": f"SELECT * FROM archive WHERE {T}",
    "outbox": f"SELECT * FROM outbox WHERE {T}",
    "dead letters": f"SELECT * FROM dead_letter WHERE {T}",
    "passwords": f"SELECT rolpassword FROM pg_authid WHERE {T}",
    "settings": f"SELECT * FROM pg_settings WHERE {T}",
    "activity": f"SELECT query FROM pg_stat_activity WHERE {T}",
    "other schema": f"SELECT * FROM front_desk.api_key WHERE {T}",
    "own schema by name": f"SELECT * FROM anomaly_engine.call WHERE {T}",
    "information schema": f"SELECT * FROM information_schema.tables WHERE {T}",
    "quoted name": f'SELECT * FROM "call" WHERE {T}',
    "joined": f"SELECT * FROM call JOIN outbox ON true WHERE {T}",
    "comma": f"SELECT * FROM call, outbox WHERE {T}",
    "in exists": f"{W} AND EXISTS (SELECT 1 FROM inbox)",
    "in select": f"SELECT (SELECT count(*) FROM inbox) FROM call WHERE {T}",
    "in union": f"{W} UNION ALL SELECT event_id FROM inbox",
    "in lateral": f"SELECT * FROM call, LATERAL (SELECT 1) x WHERE {T}",
    "table command": "TABLE outbox",
    "name before its with": f"WITH a AS (SELECT * FROM inbox), inbox AS (SELECT 1) SELECT * FROM a, call WHERE {T}",
    "name of a nested with": f"SELECT * FROM outbox, (WITH outbox AS ({W}) SELECT * FROM outbox) x",
    "with that hides a table": f"WITH call AS (SELECT * FROM call WHERE {T}) SELECT * FROM call",
    "sample": f"SELECT * FROM call TABLESAMPLE SYSTEM (10) WHERE {T}",
    "recursion without end": f"WITH RECURSIVE x AS (SELECT 1 AS n UNION SELECT n + 1 FROM x) SELECT * FROM x WHERE {T}",
    # The clock, and parameters that are not ours.
    "now": f"{W} AND began_at < now()",
    "current_timestamp": f"{W} AND began_at < current_timestamp",
    "current_date": f"{W} AND began_at < current_date",
    "localtimestamp": f"{W} AND began_at < localtimestamp",
    "clock_timestamp": f"{W} AND began_at < clock_timestamp()",
    "statement_timestamp": f"{W} AND began_at < statement_timestamp()",
    "the word now": f"{W} AND began_at < 'now'",
    "the word now, cast": f"{W} AND began_at < ' NOW '::timestamptz",
    "the word today": f"{W} AND began_at < timestamptz 'today'",
    "the word yesterday": f"{W} AND began_at < date 'Yesterday 10:00'",
    "age": f"SELECT age(began_at) FROM call WHERE {T}",
    "another parameter": f"{W} AND call_id = :tenant",
    "a numbered parameter": f"{W} AND call_id = $2",
    "psycopg's parameter": f"{W} AND call_id = %(tenant)s",
    "no time asked for": "SELECT call_id FROM call",
    # Texts that two readers may read differently.
    "comment in a comment": f"{W} /* /* */ AND true */ ; DELETE FROM call",
    "unicode escapes": f"SELECT U&'\\0070' FROM call WHERE {T}",
    "escape string": f"SELECT E'\\'' FROM call WHERE {T}",
    "unclosed string": f"SELECT 'x FROM call WHERE {T}",
    "unclosed dollar": f"SELECT $x$ FROM call WHERE {T}",
    "not sql": "please show me everything",
    "too long": f"SELECT call_id FROM call WHERE {T}" + " AND true" * 2000,
    "too deep": "SELECT " + "(" * 3000 + "1" + ")" * 3000,
}

HARMLESS = {
    "plain": W,
    "ends with a semicolon": f"{W};",
    "group and having": f"SELECT did, count(*) AS n FROM call WHERE {T} GROUP BY did HAVING count(*) > 3 ORDER BY n",
    "with": f"WITH late AS ({W}), later AS (SELECT call_id FROM late) SELECT * FROM later",
    "join": f"SELECT c.call_id FROM call c LEFT JOIN fact f ON f.subject = c.did WHERE c.{T} AND f.fact_id IS NULL",
    "exists": f"{W} AND NOT EXISTS (SELECT 1 FROM fact WHERE fact.subject = call.did)",
    "union": f"{W} UNION SELECT fact_id FROM fact WHERE seen_at < :as_of",
    "except": f"{W} EXCEPT SELECT fact_id FROM fact",
    "window": f"SELECT call_id, row_number() OVER (PARTITION BY did ORDER BY began_at) AS n FROM call WHERE {T}",
    "filter": f"SELECT count(*) FILTER (WHERE state = 'missed') AS missed FROM call WHERE {T}",
    "case": f"SELECT CASE WHEN state = 'missed' THEN 1 ELSE 0 END AS missed FROM call WHERE {T}",
    "dates": f"SELECT date_trunc('day', began_at AT TIME ZONE 'Asia/Kolkata') AS day FROM call WHERE {T}",
    "between": f"{W} AND began_at BETWEEN :as_of - interval '1 day' AND :as_of",
    "strings": f"SELECT lower(state) || ': ' || upper(vendor) AS what FROM call WHERE {T} AND did LIKE '+9148%'",
    "numbers": f"SELECT round(avg(duration_seconds), 1) AS mean, sum(duration_seconds) FROM call WHERE {T}",
    "coalesce": f"SELECT coalesce(did, ''), nullif(vendor, ''), greatest(1, 2), least(1, 2) FROM call WHERE {T}",
    "a word with now in it": f"{W} AND vendor = 'knowlarity'",
    "a colon in a string": f"{W} AND vendor <> ':tenant' AND vendor <> 'a::b; c -- d'",
    "limit": f"{W} LIMIT 5",
}


@pytest.mark.parametrize("sql", ATTACKS.values(), ids=ATTACKS.keys())
def test_the_lint_refuses(sql: str) -> None:
    written, problems = executable(sql, requires=REQUIRES)
    assert problems
    assert written == ""


@pytest.mark.parametrize("sql", HARMLESS.values(), ids=HARMLESS.keys())
def test_the_lint_accepts(sql: str) -> None:
    written, problems = executable(sql, requires=REQUIRES)
    assert problems == []
    assert "CAST($1 AS TIMESTAMPTZ)" in written


def test_what_is_executed_is_written_from_what_was_checked() -> None:
    written, _ = executable(f"{W} -- AND 1 = 2\n /* ; DELETE FROM call */", requires=REQUIRES)
    assert written == "SELECT call_id FROM call WHERE began_at < CAST($1 AS TIMESTAMPTZ)"


def test_a_rule_may_not_even_require_what_is_not_a_projection() -> None:
    _, problems = executable(f"SELECT * FROM outbox WHERE {T}", requires=["outbox"])
    assert "outbox is not a projection that rules may read" in problems


def test_a_refusal_names_everything_that_is_wrong() -> None:
    _, problems = executable("SELECT pg_sleep(1), now() FROM archive", requires=REQUIRES)
    assert set(problems) == {
        "the function pg_sleep is not allowed in a rule",
        "the clock is not read by a rule; use :as_of",
        "the query does not use :as_of, so it could not be asked for another day",
        "archive is read but not in requires",
    }
