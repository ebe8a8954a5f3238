"""The form of a key."""

import re

from auth.api_key import ApiKey


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
