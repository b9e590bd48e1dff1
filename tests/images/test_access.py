"""Who may do what: tables of rules, requests, scopes, challenges and addresses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.errors import InvalidInput
from argosy.images.access import (
    ALL_TO_ANYONE,
    ALL_TO_USERS,
    Need,
    basic_challenge,
    bearer_challenge,
    check_listen,
    needs,
    parse_rules,
    parse_scopes,
)

RULES = """
# who      may     with
alice      delete  **
ci         push    apps/* base/*     # two patterns
*          pull    apps/**
anonymous  pull    public/**
"""


def repository(name: str, action: str) -> Need:
    return Need("repository", name, action)


@pytest.mark.parametrize(
    ("user", "name", "action", "allowed"),
    [
        ("alice", "anything/at/all", "delete", True),  # ** is every name, and delete means everything
        ("ci", "apps/web", "push", True),
        ("ci", "apps/web", "pull", True),  # pushing means pulling too
        ("ci", "apps/web", "delete", False),  # but not removing
        ("ci", "apps/web/deep", "push", False),  # * stays within one component
        ("ci", "apps/web/deep", "pull", True),  # the rule of every user
        ("ci", "apps", "pull", False),  # a pattern with a slash wants one
        ("ci", "myapps/web", "push", False),  # the whole name matches, not a part
        ("bob", "apps/web", "pull", True),
        ("bob", "base/debian", "pull", False),
        ("", "public/x", "pull", True),  # anonymous has only its own rules
        ("", "apps/web", "pull", False),
        ("bob", "public/x", "pull", True),  # who logs in loses nothing
    ],
)
def test_a_rule_allows_what_it_says_and_nothing_else(user: str, name: str, action: str, allowed: bool) -> None:
    assert parse_rules(RULES, "rules").allow(user, repository(name, action)) is allowed


@pytest.mark.parametrize(("user", "allowed"), [("alice", True), ("ci", False), ("", False)])
def test_the_catalog_is_for_those_who_may_read_every_name(user: str, allowed: bool) -> None:
    assert parse_rules(RULES, "rules").allow(user, Need("registry", "catalog", "pull")) is allowed


def test_a_pattern_for_names_without_a_slash_does_not_give_the_catalog_away() -> None:
    rules = parse_rules("alice delete **\nanonymous pull *\n", "rules")
    assert not rules.allow("", Need("registry", "catalog", "pull"))
    assert rules.allow("", repository("web", "pull"))


def test_without_rules_users_may_do_everything_and_anonymous_nothing() -> None:
    assert ALL_TO_USERS.allow("bob", repository("x", "delete"))
    assert not ALL_TO_USERS.allow("", repository("x", "pull"))
    assert ALL_TO_ANYONE.allow("", repository("x", "delete"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("alice pull", "line 1: 'alice pull' is no rule"),
        ("alice write **", "is no rule"),
        ("-alice pull **", "'-alice' is no user's name"),
        ("alice pull Apps/*", "'Apps/*' is no pattern"),
        ("alice pull ***", "'***' is no pattern"),
        ("alice pull a$", "'a$' is no pattern"),
    ],
)
def test_a_broken_rule_is_refused_by_its_line(line: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_rules(line, "rules")
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("method", "kind", "wanted"),
    [
        ("GET", "base", ()),
        ("GET", "catalog", (Need("registry", "catalog", "pull"),)),
        ("GET", "manifest", (repository("a/b", "pull"),)),
        ("HEAD", "blob", (repository("a/b", "pull"),)),
        ("GET", "tags", (repository("a/b", "pull"),)),
        ("GET", "referrers", (repository("a/b", "pull"),)),
        ("PUT", "manifest", (repository("a/b", "push"),)),
        ("DELETE", "manifest", (repository("a/b", "delete"),)),
        ("DELETE", "blob", (repository("a/b", "delete"),)),
        ("POST", "uploads", (repository("a/b", "push"),)),
        ("GET", "upload", (repository("a/b", "push"),)),  # how far an upload is, is its owner's matter
        ("DELETE", "upload", (repository("a/b", "push"),)),  # giving up one's own upload removes no image
        ("FLY", "anything new", (repository("a/b", "push"),)),  # what is not known to read is taken to write
    ],
)
def test_what_a_request_asks_for(method: str, kind: str, wanted: tuple[Need, ...]) -> None:
    assert needs(method, kind, "a/b") == wanted


def test_mounting_a_blob_asks_for_reading_where_it_comes_from() -> None:
    assert needs("POST", "uploads", "a", "b/c") == (repository("a", "push"), repository("b/c", "pull"))


@pytest.mark.parametrize(
    ("scopes", "wanted"),
    [
        (["repository:a/b:pull,push"], {("a/b", "pull"), ("a/b", "push")}),
        (["repository:a:pull repository:b:push"], {("a", "pull"), ("b", "push")}),
        (["repository:a:*"], {("a", "pull"), ("a", "push"), ("a", "delete")}),
        (["repository(plugin):a:pull"], {("a", "pull")}),
        (["registry:catalog:*"], {("catalog", "pull")}),
        (["repository:../../x:pull", "repository:A:pull", "repository:a:fly", "cluster:a:pull", "repository", "::", ""], set()),
        (["repository:a:pull", "repository:a:pull"], {("a", "pull")}),
    ],
)
def test_scopes_are_read_and_what_means_nothing_is_left_out(scopes: list[str], wanted: set[tuple[str, str]]) -> None:
    assert {(need.name, need.action) for need in parse_scopes(scopes)} == wanted


def test_a_hundred_scopes_are_enough() -> None:
    with pytest.raises(InvalidInput, match="101 scopes"):
        parse_scopes([" ".join(f"repository:a{number}:pull" for number in range(101))])


@given(st.lists(st.text(max_size=40), max_size=5))
def test_no_text_makes_the_reading_of_scopes_fail(scopes: list[str]) -> None:
    assert all(need.action in ("pull", "push", "delete") for need in parse_scopes(scopes))


def test_challenges_are_what_docker_reads() -> None:
    assert basic_challenge("argosy") == 'Basic realm="argosy"'
    wanted = (repository("a/b", "push"), repository("c", "pull"))
    assert bearer_challenge("https://r/token", "argosy", wanted, "insufficient_scope") == (
        'Bearer realm="https://r/token",service="argosy",scope="repository:a/b:pull,push repository:c:pull",error="insufficient_scope"'
    )
    assert bearer_challenge("https://r/token", "argosy", ()) == 'Bearer realm="https://r/token",service="argosy"'


@given(st.text())
def test_what_a_client_names_never_leaves_its_quotes(text: str) -> None:
    challenge = basic_challenge(text)
    inner = challenge.removeprefix('Basic realm="').removesuffix('"')
    assert challenge.isascii()
    assert "\n" not in challenge
    assert '"' not in inner.replace("\\\\", "").replace('\\"', "")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.1.5", "::1", "localhost"])
def test_loopback_is_open(host: str) -> None:
    check_listen(host, users=False, tls=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "", "example.org"])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"users": False, "tls": True}, "--allow-anyone"),
        ({"users": True, "tls": False}, "--allow-plain"),
        ({"users": False, "tls": False, "anyone": True}, "--allow-plain"),
        ({"users": True, "tls": True}, ""),
        ({"users": False, "tls": False, "anyone": True, "plain": True}, ""),
    ],
)
def test_elsewhere_there_are_users_and_tls_or_somebody_said_so(host: str, given: dict[str, bool], said: str) -> None:
    if not said:
        check_listen(host, **given)
        return
    with pytest.raises(InvalidInput) as caught:
        check_listen(host, **given)
    assert said in caught.value.remedy
