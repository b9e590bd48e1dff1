"""Swarm's expressions: how they are written, what they match, and that no pattern takes long."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.errors import InvalidInput
from argosy.placement.expressions import is_literal, literal_prefix, matches, parse_expression
from argosy.placement.regex import LONGEST, Regex
from argosy.requirements import Expression

WRITTEN = [
    ("storage==ssd", Expression("storage", "ssd")),
    ("storage!=ssd", Expression("storage", "ssd", negated=True)),
    ("node==~web-*", Expression("node", "web-*", soft=True)),
    ("node!=~/web-[0-9]+/", Expression("node", "/web-[0-9]+/", negated=True, soft=True)),
    ("container==a==b", None),
    ("storage=ssd", None),
    ("s==ssd", None),
    ("1a==ssd", None),
    ("storage==", None),
    ("storage==~", None),
    ("storage==a;b", None),
    ("node==/(/", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "expression"), WRITTEN)
def test_an_expression_is_read(text: str, expression: Expression | None) -> None:
    if expression is None:
        with pytest.raises(InvalidInput):
            parse_expression(text)
    else:
        assert parse_expression(text) == expression
        assert str(expression) == text


MATCHES = [
    ("the very same text", "web.1", "web.1", True),
    ("a dot is a dot in a glob", "web.1", "web-1", False),
    ("a glob matches the whole text", "web", "web-1", False),
    ("any end", "web*", "web", True),
    ("any beginning", "*-1", "web-1", True),
    ("two stars in order", "a*b*c", "a-b-b-c", True),
    ("what overlaps does not match twice", "ab*bc", "abc", False),
    ("a star spans slashes", "a*c", "a/b/c", True),
    ("a regular expression matches anywhere", "/b+/", "abbc", True),
    ("unless it is anchored", "/^b+$/", "abbc", False),
    ("a malformed one matches nothing", "/(/", "(", False),
    ("a lone slash is no regular expression", "/", "/", True),
]


@pytest.mark.parametrize(("sentence", "pattern", "text", "found"), MATCHES)
def test_matches(sentence: str, pattern: str, text: str, found: bool) -> None:
    assert matches(pattern, text) is found, sentence
    if found:
        assert text.startswith(literal_prefix(pattern)), "the index finds it by its beginning"
        assert not is_literal(pattern) or pattern == text


ATOMS = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\d", r"\.", "1", "^", "$", ""])
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("|".join),
        st.tuples(inner, st.sampled_from(["", "*", "+", "?", "+?"])).map(lambda pair: f"({pair[0]}){pair[1]}"),
    ),
    max_leaves=8,
)


@given(PATTERNS, st.text("ab1.", max_size=8))
def test_a_regular_expression_finds_what_python_s_finds(pattern: str, text: str) -> None:
    assert Regex(pattern).search(text) is (re.search(pattern.replace("$", r"\Z"), text) is not None)


def test_case_is_ignored_where_the_pattern_says_so() -> None:
    assert Regex("(?i)DEBIAN [0-9]").search("debian 12")
    assert not Regex("DEBIAN").search("debian")


@pytest.mark.parametrize("pattern", ["(", ")", "a)", "*", "a**", "[", "[b-a]", "\\", r"\1", "a" * (LONGEST + 1)])
def test_a_malformed_regular_expression_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidInput):
        Regex(pattern)


def test_a_pattern_that_makes_others_search_for_ever_is_answered_at_once() -> None:
    assert not Regex("(a+)+(a|a)*(a?)*b").search("a" * 2000)
