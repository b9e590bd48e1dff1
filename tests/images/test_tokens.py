"""Tokens: what was issued is believed for as long as it says, and nothing else is."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from argosy.errors import InvalidInput
from argosy.images.access import Need
from argosy.images.tokens import LEEWAY_SECONDS, BadToken, Tokens, load_key, make_key

NOW = 1_700_000_000.0
PULL = Need("repository", "apps/web", "pull")
PUSH = Need("repository", "apps/web", "push")
CATALOG = Need("registry", "catalog", "pull")
KEY = make_key()
TOKENS = Tokens(KEY, "argosy")


def test_a_token_allows_what_was_granted_and_no_more() -> None:
    claims = TOKENS.verify(TOKENS.issue("ci", [PULL, PUSH], NOW), NOW)
    assert claims.sub == "ci"
    assert claims.allows(PULL)
    assert claims.allows(PUSH)
    assert not claims.allows(Need("repository", "apps/web", "delete"))
    assert not claims.allows(Need("repository", "apps/other", "pull"))
    assert not claims.allows(CATALOG)
    assert TOKENS.verify(TOKENS.issue("ci", [CATALOG], NOW), NOW).allows(CATALOG)


def test_registries_that_share_a_key_believe_each_other() -> None:
    assert Tokens(KEY, "argosy").verify(TOKENS.issue("ci", [PULL], NOW), NOW).allows(PULL)


@pytest.mark.parametrize(("later", "good"), [(0, True), (299, True), (301, False), (-LEEWAY_SECONDS, True), (-LEEWAY_SECONDS - 1, False)])
def test_a_token_lasts_as_long_as_it_says(later: float, good: bool) -> None:
    token = TOKENS.issue("ci", [PULL], NOW, 300)
    if good:
        assert TOKENS.verify(token, NOW + later).allows(PULL)
    else:
        with pytest.raises(BadToken, match="has ended"):
            TOKENS.verify(token, NOW + later)


def test_tokens_of_others_are_not_believed() -> None:
    for other in (Tokens(make_key(), "argosy"), Tokens(KEY, "elsewhere")):
        with pytest.raises(BadToken):
            TOKENS.verify(other.issue("ci", [PULL], NOW), NOW)


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_a_token_without_a_signature_is_not_believed() -> None:
    header, body, signature = TOKENS.issue("ci", [PULL], NOW).split(".")
    for forged in (
        f"{part({'alg': 'none'})}.{body}.",
        f"{header}.{body}.",
        f"{header}.{part({'sub': 'root'})}.{signature}",
        f"{header}.{body}",
    ):
        with pytest.raises(BadToken):
            TOKENS.verify(forged, NOW)


@given(st.text(max_size=200))
def test_no_text_is_a_token(text: str) -> None:
    with pytest.raises(BadToken):
        TOKENS.verify(text, NOW)


@given(st.integers(min_value=0), st.integers(min_value=0, max_value=5))
def test_a_token_that_was_changed_anywhere_is_not_believed(place: int, bit: int) -> None:
    token = TOKENS.issue("ci", [PULL], NOW)
    place %= len(token)
    changed = token[:place] + chr(ord(token[place]) ^ (1 << bit)) + token[place + 1 :]
    try:
        same = all(
            base64.urlsafe_b64decode(one + "==") == base64.urlsafe_b64decode(other + "==")
            for one, other in zip(token.split("."), changed.split("."), strict=True)
        )
    except ValueError:
        same = False
    if same:  # the unused bits of a last character
        return
    with pytest.raises(BadToken):
        TOKENS.verify(changed, NOW)


def test_a_token_that_is_too_long_is_not_looked_at() -> None:
    with pytest.raises(BadToken, match="too long"):
        TOKENS.verify("x" * 20_000, NOW)


def test_a_key_comes_from_a_pem_file(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    plain = serialization.NoEncryption()
    path.write_bytes(KEY.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    assert Tokens(load_key(path), "argosy").verify(TOKENS.issue("ci", [PULL], NOW), NOW).allows(PULL)
    wrong = tmp_path / "wrong.pem"
    curve = ec.generate_private_key(ec.SECP256R1())
    wrong.write_bytes(curve.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    for bad in (wrong, tmp_path / "absent.pem", Path(__file__)):
        with pytest.raises(InvalidInput, match=str(bad)):
            load_key(bad)
