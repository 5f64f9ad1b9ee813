"""Keys, passwords and tokens."""

from __future__ import annotations

from front_desk.credentials import (
    hash_password,
    is_stale_hash,
    new_api_key,
    new_token,
    password_problem,
    public_id,
    same_secret,
    sha256,
    verify_password,
)


def test_a_key_names_its_row_and_hides_its_secret() -> None:
    key = new_api_key()
    assert public_id(key.text) == key.key_id
    assert key.secret_sha256 == sha256(key.text)
    assert len({new_api_key().text for _ in range(50)}) == 50


def test_what_is_not_spelt_like_a_key_is_not_looked_up() -> None:
    key = new_api_key().text
    for text in ("", "tlk_", key[:-1], key + "a", key.upper(), "tlk_" + "'" * 12 + "_" + "a" * 43):
        assert public_id(text) is None


def test_a_password_is_verified_and_nobody_has_none() -> None:
    hashed = hash_password("a good password")
    assert hashed.startswith("$argon2id$")
    assert verify_password(hashed, "a good password")
    assert not verify_password(hashed, "another password")
    assert not verify_password(None, "a good password")
    assert not verify_password("not a hash", "a good password")
    assert not is_stale_hash(hashed)


def test_passwords_have_a_length() -> None:
    assert password_problem("x" * 9)
    assert password_problem("x" * 201)
    assert password_problem("x" * 10) is None


def test_secrets_of_any_text_compare() -> None:
    assert same_secret("ആശ", "ആശ")
    assert not same_secret(new_token(), new_token())
