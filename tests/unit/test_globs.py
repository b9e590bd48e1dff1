from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.errors import InvalidUnit
from argosy.unit.globs import check_glob, conflict, is_literal, literal_prefix, matches

# What Go's path.Match answers.
ANSWERS = [
    ("a.service", "a.service", True),
    ("a.service", "ab.service", False),
    ("app@*.service", "app@1.service", True),
    ("app@*.service", "app@.service", True),
    ("app@*.service", "app-db@1.service", False),
    ("*", "anything.service", True),
    ("*", "", True),
    ("*", "a/b", False),
    ("a*b*c", "a1b2b3c", True),
    ("a**c", "abc", True),
    ("?.service", "a.service", True),
    ("?.service", "é.service", True),
    ("?.service", ".service", False),
    ("a?b", "a/b", False),
    ("a[^x]b", "a/b", True),
    ("*[^x]*c", "a/c", False),
    ("web[0-9].service", "web5.service", True),
    ("web[0-9].service", "webx.service", False),
    ("web[^0-9].service", "webx.service", True),
    ("web[^0-9].service", "web5.service", False),
    ("[z-a]", "m", False),
    ("[^z-a]", "m", True),
    ("[!a]", "b", False),
    ("[!a]", "!", True),
    (r"[\]]", "]", True),
    (r"\*", "*", True),
    (r"\*", "a", False),
    (r"a\b", "ab", True),
    ("a.c", "abc", False),
    ("", "", True),
    ("", "a", False),
    ("(a|b)+", "a", False),
]


@pytest.mark.parametrize(("pattern", "name", "expected"), ANSWERS)
def test_globs_match_as_go_matches(pattern: str, name: str, expected: bool) -> None:
    assert matches(pattern, name) is expected


@pytest.mark.parametrize("pattern", ["[", "[a", "[]", "[]a]", "[a-]", "[-a]", "[^", "[a-z", "\\", "a\\", "[\\", "x[a-b-c]"])
def test_a_malformed_glob_is_refused_by_name(pattern: str) -> None:
    with pytest.raises(InvalidUnit, match="malformed glob"):
        check_glob(pattern)
    with pytest.raises(InvalidUnit):
        matches(pattern, "a")


def test_conflicts_count_in_both_directions_but_never_with_itself() -> None:
    assert conflict("a.service", ("b*",), "b.service", ())
    assert conflict("a.service", (), "b.service", ("a.*",))
    assert not conflict("a.service", ("c*",), "b.service", ("c*",))
    assert not conflict("a.service", ("*",), "a.service", ("*",))


def test_many_stars_take_no_longer() -> None:
    assert not matches("*a" * 100 + "*b", "a" * 256)


@given(st.text(st.sampled_from("ab*?[^]-\\/."), max_size=8), st.text(st.sampled_from("ab-/.]"), max_size=6))
def test_what_matches_starts_with_the_literal_prefix(pattern: str, name: str) -> None:
    try:
        found = matches(pattern, name)
    except InvalidUnit:
        return
    if found:
        assert name.startswith(literal_prefix(pattern))
    if is_literal(pattern):
        assert found == (pattern == name)


LITERAL = st.text(st.sampled_from("ab-/]"), max_size=4)


@given(LITERAL, LITERAL, st.text(st.sampled_from("ab-/]"), max_size=8))
def test_a_pattern_with_one_star_matches_as_with_two(start: str, end: str, name: str) -> None:
    assert matches(f"{start}*{end}", name) == matches(f"{start}**{end}", name)
