"""The secret of an installation and what is derived from it."""

import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.trust.secrets import SecretError, Secrets, make_secret, read_secrets

OLD, NEW = bytes(32), bytes(range(32))
ONE = Secrets((OLD,))


def test_a_secret_is_made_once_for_its_owner_alone(tmp_path):
    path = tmp_path / "secret"
    make_secret(path)
    first = path.read_text()
    make_secret(path)
    assert path.read_text() == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(read_secrets(path).values[0]) == 32


def test_two_installations_have_two_secrets(tmp_path):
    for name in ("one", "two"):
        make_secret(tmp_path / name)
    assert read_secrets(tmp_path / "one") != read_secrets(tmp_path / "two")


@pytest.mark.parametrize("content", ["", "0" * 63, "G" * 64, f"{'0' * 64}\nshort\n", "é" * 64])
def test_anything_else_is_no_secret(tmp_path, content):
    path = tmp_path / "secret"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(SecretError, match="secret"):
        read_secrets(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SecretError, match="nothing-here"):
        read_secrets(tmp_path / "nothing-here")


def test_keys_of_two_purposes_or_secrets_differ():
    assert len({ONE.key("a"), ONE.key("b"), Secrets((NEW,)).key("a")}) == 3
    assert ONE.key("a") == ONE.key("a")


@given(st.lists(st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=3))
def test_a_digest_tells_same_from_different(parts):
    assert ONE.digest("x", *parts) == ONE.digest("x", *parts)
    assert ONE.digest("x", *parts) != ONE.digest("x", *parts, "more")
    assert ONE.digest("x", *parts) != ONE.digest("y", *parts)


@given(st.binary(max_size=300))
def test_what_is_sealed_opens_again(plain):
    sealed = ONE.seal("purpose", plain)
    assert ONE.open("purpose", sealed) == plain
    assert len(plain) < 8 or plain not in sealed
    assert sealed != ONE.seal("purpose", plain)


def test_a_changed_bit_is_noticed():
    sealed = ONE.seal("purpose", b"what was said")
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(SecretError):
            ONE.open("purpose", bytes(changed))


def test_sealed_for_one_purpose_opens_for_no_other():
    with pytest.raises(SecretError, match="changed"):
        ONE.open("other", ONE.seal("purpose", b"text"))


def test_an_old_secret_opens_what_it_sealed_and_seals_no_more():
    sealed = ONE.seal("purpose", b"text")
    rotated = Secrets((NEW, OLD))
    assert rotated.open("purpose", sealed) == b"text"
    assert rotated.seal("purpose", b"text")[:4] != sealed[:4]
    with pytest.raises(SecretError, match="old secret"):
        Secrets((NEW,)).open("purpose", sealed)
