"""Errors that come in groups."""

from __future__ import annotations

from argosy.errors import ArgosyError, Conflict, NotFound, first_error, leaves

ONE, TWO, DEFECT = NotFound("one"), Conflict("two"), ValueError("a defect")


def test_the_first_error_of_ours_is_found_however_deep_it_is() -> None:
    group = BaseExceptionGroup("", [DEFECT, BaseExceptionGroup("", [ONE, TWO])])
    assert first_error(group) is ONE
    assert leaves(group) == [DEFECT, ONE, TWO]


def test_without_one_of_ours_the_whole_group_is_the_error() -> None:
    group = BaseExceptionGroup("", [DEFECT, KeyboardInterrupt()])
    assert first_error(group) is group
    assert first_error(DEFECT) is DEFECT


def test_an_error_that_is_no_group_is_its_own_first() -> None:
    assert first_error(ONE) is ONE
    assert leaves(ONE) == [ONE]
    assert isinstance(ONE, ArgosyError)
