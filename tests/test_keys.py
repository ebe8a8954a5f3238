"""The form of a key."""

import re
from collections.abc import Callable

import pytest

from auth import inputs
from auth.api_key import ApiKey, holds_key


def test_a_key_has_a_prefix_an_id_a_secret_and_a_checksum() -> None:
    key = ApiKey.generate()
    assert re.fullmatch(r"imc_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}", key.reveal())
    assert ApiKey.parse(key.reveal()) == key
    assert ApiKey.generate() != key
    # 62 ** 27 is the first power over 2 ** 160.
    assert len(key.secret) >= 27


def test_any_single_typo_is_told_offline() -> None:
    written = ApiKey.generate().reveal()
    for place in range(len(written)):
        wrong = written[:place] + ("x" if written[place] != "x" else "y") + written[place + 1 :]
        assert ApiKey.parse(wrong) is None


def test_other_texts_are_no_keys() -> None:
    written = ApiKey.generate().reveal()
    for text in ("", "imc_", written[:-1], written + "a", " " + written, written.upper(), written + "\n", "ä" * 55):
        assert ApiKey.parse(text) is None


def test_a_secret_matches_its_own_hash_alone() -> None:
    key = ApiKey.generate()
    assert key.matches(key.secret_sha256())
    assert not key.matches(ApiKey.generate().secret_sha256())
    assert key.secret not in key.secret_sha256()


def test_a_keys_secret_is_not_in_its_repr() -> None:
    key = ApiKey.generate()
    assert key.secret not in repr(key)


def test_a_key_within_a_text_is_found() -> None:
    for _ in range(20):
        written = ApiKey.generate().reveal()
        rest = written.removeprefix("imc_")
        for text in (written, rest, f"a{rest}b", f"of imc_x: {written}.", f"{rest[13:]}_{written}"):
            assert holds_key(text)


def test_a_text_that_only_looks_like_a_key_holds_none() -> None:
    written = ApiKey.generate().reveal()
    digest = "da39a3ee5e6b4b0d3255bfef95601890afd80709"
    for text in ("", "imc_", written[:-1], written.upper(), f"order_123456789012_{digest}", f"imc_{digest}"):
        assert not holds_key(text)


@pytest.mark.parametrize(
    ("check", "written"),
    [
        (inputs.name, "{}"),
        (inputs.name, "of {}"),
        (inputs.name, "{} (old)"),
        (inputs.plan, "pro.{}"),
        (inputs.email, "{}@example.org"),
        (inputs.email, "ada@{}"),
    ],
)
def test_what_is_stored_holds_no_key(check: Callable[[str], str], written: str) -> None:
    key = ApiKey.generate().reveal()
    with pytest.raises(ValueError, match="leave the API key out") as refused:
        check(written.format(key))
    assert key not in str(refused.value)


def test_a_name_may_look_like_the_beginning_of_a_key() -> None:
    assert inputs.name("imcp, the printer") == "imcp, the printer"
