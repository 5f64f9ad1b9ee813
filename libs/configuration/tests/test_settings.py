"""A misspelt or missing setting stops a service with a sentence, and secrets stay secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from configuration import ConfigurationError, ServiceSettings


class Settings(ServiceSettings, service="telephony-router"):
    intake_batch_max: int = 500
    secret_key: SecretStr = SecretStr("")


def test_shared_and_own_names_are_read() -> None:
    settings = Settings.load(
        {"TRUNKLINE_KAFKA_BOOTSTRAP": "kafka:9092", "TRUNKLINE_TELEPHONY_ROUTER_INTAKE_BATCH_MAX": "7"}
    )
    assert (settings.kafka_bootstrap, settings.intake_batch_max) == ("kafka:9092", 7)


def test_an_unknown_name_is_an_error_that_suggests_the_right_one() -> None:
    with pytest.raises(ConfigurationError, match=r"did you mean TRUNKLINE_TELEPHONY_ROUTER_INTAKE_BATCH_MAX\?"):
        Settings.load({"TRUNKLINE_TELEPHONY_ROUTER_INTAKE_BACH_MAX": "7"})


def test_another_services_names_are_not_ours_to_judge() -> None:
    Settings.load({"TRUNKLINE_NOTIFIER_SMTP_HOST": "mail"})


def test_every_problem_is_listed_at_once() -> None:
    with pytest.raises(ConfigurationError) as error:
        Settings.load(
            {
                "TRUNKLINE_TELEPHONY_ROUTER_INTAKE_BATCH_MAX": "many",
                "TRUNKLINE_TELEPHONY_ROUTER_WHAT": "1",
                "TRUNKLINE_ADMIN_TOKEN_FILE": "/nowhere/at/all",
            }
        )
    assert len(str(error.value).splitlines()) == 4


def test_a_secret_comes_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret-of-mine\n", encoding="utf-8")
    settings = Settings.load({"TRUNKLINE_ADMIN_TOKEN_FILE": str(tmp_path / "token")})
    assert settings.admin_token.get_secret_value() == "s3cret-of-mine"
    assert "s3cret" not in str(settings.described())


def test_well_known_secrets_are_refused_outside_a_demo() -> None:
    environment = {"TRUNKLINE_ADMIN_TOKEN": "demo"}
    with pytest.raises(ConfigurationError, match="well-known"):
        Settings.load(environment)
    assert Settings.load({**environment, "TRUNKLINE_DEMO": "true"}).demo


def test_a_replica_is_named_so_that_kafka_and_a_person_can_read_it() -> None:
    assert Settings.load({}).instance_id is None
    assert Settings.load({"TRUNKLINE_INSTANCE_ID": "eu-1.a_0"}).instance_id == "eu-1.a_0"
    with pytest.raises(ConfigurationError, match="TRUNKLINE_INSTANCE_ID"):
        Settings.load({"TRUNKLINE_INSTANCE_ID": "two words"})
