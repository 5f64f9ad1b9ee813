"""``trunkline sip config``: an operator's settings as Kamailio reads them."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from trunkline.sip.command import app
from trunkline.sip.render import settings_cfg, spellings, tables_cfg
from trunkline.sip.settings import Settings, read
from trunkline.stack.problems import Problem

ROOT = Path(__file__).parents[2]
HOOK = "http://127.0.0.1:17081/v1/hooks/kamailio/the-secret-of-the-account"
LEAST = {"listen": ["udp:192.0.2.1:5060"], "peers": ["198.51.100.0/28"], "gateway": "198.51.100.2:5060"}


def made(**more: object) -> Settings:
    return Settings.model_validate({**LEAST, "router_hook": HOOK, **more})


def defined(settings: Settings) -> dict[str, str]:
    lines = [line.split(" ", 2) for line in settings_cfg(settings).splitlines() if line.startswith("#!define")]
    return {line[1]: line[2] if len(line) > 2 else "" for line in lines}


def test_the_least_that_has_to_be_said_is_enough() -> None:
    values = defined(made())
    assert values["PEERS"] == '"198.51.100.0/28"'
    assert values["HOOK_RING"] == f'"{HOOK}/ring"'
    assert values["HOOK_HEADERS"] == '"Content-Type: application/json"'
    assert "WITH_REDIS" not in values
    assert "listen=udp:192.0.2.1:5060" in settings_cfg(made())


def test_http_gives_up_in_the_first_whole_second_after_the_caller_has() -> None:
    assert [defined(made(deadline_ms=each))["HTTP_SECONDS"] for each in (500, 999, 1000, 1500)] == ["1", "1", "2", "2"]


def test_only_who_sends_calls_is_a_peer_and_who_is_called_is_trusted_within_them() -> None:
    desk = {"+919847000010": "sip:reception@192.0.2.10:5062;transport=tcp"}
    values = defined(made(destinations=desk))
    assert values["PEERS"] == '"198.51.100.0/28"'
    assert values["TRUSTED"] == '"198.51.100.0/28,198.51.100.2,192.0.2.10"'


def test_accounts_do_not_share_answers_and_their_secret_is_not_in_the_keys() -> None:
    redis = "redis://:word@127.0.0.1:6379/2"
    one, other = (defined(made(redis=redis, router_hook=HOOK + each)) for each in ("", "-2"))
    assert one["REDIS_SERVER"] == '"name=answers;addr=127.0.0.1;port=6379;db=2;pass=word"'
    assert one["REDIS_PREFIX"] != other["REDIS_PREFIX"]
    assert "secret" not in one["REDIS_PREFIX"] + one["TOPOLOGY_KEY"]


def test_a_dialled_number_is_found_however_the_trunk_writes_it() -> None:
    assert spellings("+914842000100") == ["+914842000100", "914842000100", "00914842000100", "04842000100"]
    table = tables_cfg(made(defaults={"+914842000100": "+919847000010"}, default_number="+914842000098"))
    assert '$sht(defaults=>04842000100) = "+919847000010";' in table
    assert '$sht(defaults=>*) = "+914842000098";' in table


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gateway", '198.51.100.2:5060"\nrun()'),
        ("listen", ['udp:192.0.2.1:5060"']),
        ("peers", ["everybody"]),
        ("default_number", "04842000098"),
        ("destinations", {"+919847000010": 'sip:a";drop@192.0.2.1'}),
        ("redis", "redis://127.0.0.1:6379/0;pass=x"),
        ("control_socket", '/run/"x'),
        ("stop_on", [200]),
        ("gatewy", "198.51.100.2"),
    ],
)
def test_what_does_not_fit_is_refused_by_name_without_its_value(tmp_path: Path, name: str, value: object) -> None:
    plain = {"router_hook": HOOK, **LEAST, name: value}
    lines = [f"{key} = {json.dumps(each)}" for key, each in plain.items() if not isinstance(each, dict)]
    tables = [
        f'[{key}]\n"{k}" = {json.dumps(v)}'
        for key, each in plain.items()
        if isinstance(each, dict)
        for k, v in each.items()
    ]
    (tmp_path / "sip.toml").write_text("\n".join([*lines, *tables]))
    with pytest.raises(Problem) as refused:
        read(tmp_path / "sip.toml")
    assert name in refused.value.sentence
    assert "drop" not in refused.value.sentence


def test_a_hook_of_another_vendor_is_refused() -> None:
    with pytest.raises(Problem, match="hooks/kamailio"):
        settings_cfg(made(router_hook=HOOK.replace("kamailio", "generic")))


def test_the_example_is_written_for_owner_and_group_alone(tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    hook.write_text(HOOK + "\n")
    example = (ROOT / "deploy" / "sip" / "settings.example.toml").read_text()
    settings = tmp_path / "sip.toml"
    settings.write_text(example.replace("/etc/trunkline/sip-hook", str(hook)))
    out = tmp_path / "etc"
    for _ in range(2):
        done = CliRunner().invoke(app, ["config", str(settings), "--out", str(out), "--no-check"])
        assert done.exit_code == 0, done.output
    assert {each.name for each in out.iterdir()} == {"kamailio.cfg", "settings.cfg", "tables.cfg"}
    assert {stat.S_IMODE(each.stat().st_mode) for each in out.iterdir()} == {0o640}
    assert HOOK in (out / "settings.cfg").read_text()
