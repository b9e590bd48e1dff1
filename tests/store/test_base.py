"""What both stores ask before they do anything."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from argosy.store.base import is_key, prefix_end

text = st.text(alphabet=st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("a\ud7ff\ue000\U0010ffff")), max_size=4)


@given(prefix=text, other=text, rest=text)
def test_the_end_of_a_prefix_is_above_all_that_start_with_it_and_not_above_the_next(prefix: str, other: str, rest: str) -> None:
    end = prefix_end(prefix)
    for key in (prefix + rest, other, other + rest):
        inside = key.encode() >= prefix.encode() and (not end or key.encode() < end.encode())
        assert inside == key.startswith(prefix)


def test_a_prefix_of_nothing_but_the_last_character_has_no_end() -> None:
    assert [prefix_end(prefix) for prefix in ("", "\U0010ffff", "\U0010ffff\U0010ffff", "a\U0010ffff")] == ["", "", "", "b"]


def test_a_key_is_not_empty_holds_no_nul_and_is_valid_unicode() -> None:
    assert [is_key(key) for key in ("", "a\0", "\ud800", "a", "/", " ", "é", "\U0010ffff")] == [False] * 3 + [True] * 5
