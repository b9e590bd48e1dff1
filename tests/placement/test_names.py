"""A sorted set of names, against Python's own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from argosy.placement.names import LONGEST_BLOCK, SortedNames

names = st.text(alphabet="ab@.", max_size=4)


@given(st.lists(names), st.lists(st.tuples(st.booleans(), names)), names)
def test_it_holds_what_a_set_holds_and_finds_prefixes(first: list[str], changes: list[tuple[bool, str]], prefix: str) -> None:
    made, expected = SortedNames(first), set(first)
    for add, name in changes:
        if add:
            made.add(name)
            expected.add(name)
        else:
            made.discard(name)
            expected.discard(name)
    assert len(made) == len(expected)
    assert list(made.starting(prefix)) == sorted(name for name in expected if name.startswith(prefix))
    assert all(name in made for name in expected)
    assert (prefix in made) is (prefix in expected)


def test_many_names_are_kept_in_blocks_of_bounded_size_in_order() -> None:
    made = SortedNames()
    count = 5 * LONGEST_BLOCK
    for number in range(count):
        made.add(f"{number * 7919 % count:06}")
    assert list(made.starting("")) == [f"{number:06}" for number in range(count)]
    assert list(made.starting("0000")) == [f"{number:06}" for number in range(100)]
    for number in range(count):
        made.discard(f"{number:06}")
    assert len(made) == 0
    assert list(made.starting("")) == []
