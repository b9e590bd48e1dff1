"""Aligned tables and small words."""

from __future__ import annotations

import pytest

from argosy.cli.table import chosen, size, span, table
from argosy.errors import InvalidInput


def test_columns_are_aligned_and_empty_cells_are_dashes() -> None:
    assert table([["a.service", "", "active"], ["long-name.service", "m1", "failed"]], ("unit", "machine", "active")) == (
        "UNIT               MACHINE  ACTIVE\na.service          -        active\nlong-name.service  m1       failed"
    )


def test_without_headings_only_the_rows_are_left() -> None:
    assert table([["a", "b"]], None) == "a  b"
    assert table([], None) == ""


def test_fields_are_chosen_by_name_and_an_unknown_one_is_told_with_the_known() -> None:
    assert chosen("b, a", ("a", "b"), ("a",)) == ("b", "a")
    assert chosen(None, ("a", "b"), ("a",)) == ("a",)
    with pytest.raises(InvalidInput, match="known fields: a, b"):
        chosen("c", ("a", "b"), ("a",))


@pytest.mark.parametrize(("seconds", "text"), [(-1, "0s"), (5.9, "5s"), (125, "2min 5s"), (7500, "2h 5min"), (100_000, "1d 3h")])
def test_durations_in_words(seconds: float, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(("number", "text"), [(512, "512B"), (1536, "1.5K"), (2 * 1024**3, "2.0G"), (200 * 1024**2, "200M")])
def test_sizes_in_words(number: float, text: str) -> None:
    assert size(number) == text
