"""argosy lab, as far as it can be told without a lab. What it does is in tests/lab."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from click.testing import CliRunner

from argosy.cli import lab
from argosy.errors import InvalidInput, NotFound
from tests.cli.stage import invoke

SIDES: Sequence[tuple[tuple[str, ...], list[list[str]]]] = [
    (("m1", "/", "m2,m3"), [["m1"], ["m2", "m3"]]),
    (("m1/m2,m3",), [["m1"], ["m2", "m3"]]),
    (("m1", "m2", "/", "m3"), [["m1", "m2"], ["m3"]]),
    (("m1,", "m2",), [["m1", "m2"]]),
    (("/m1",), [[], ["m1"]]),
]  # fmt: skip


@pytest.mark.parametrize(("words", "expected"), SIDES)
def test_sides_of_a_partition_are_written_in_any_spacing(words: tuple[str, ...], expected: list[list[str]]) -> None:
    assert lab._groups(words) == expected


def test_metadata_is_by_machine_and_the_last_word_counts() -> None:
    texts = ["m1=role=web,region=eu", "m2=role=db", "m1=role=api"]
    assert lab._by_machine(texts) == {"m1": {"role": "api", "region": "eu"}, "m2": {"role": "db"}}


def test_metadata_that_is_none_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"--metadata m1=web.*'web' is not metadata"):
        lab._by_machine(["m1=web"])


@pytest.mark.parametrize(
    "verb", [["ps"], ["kill", "m1"], ["start", "m1"], ["heal"], ["add"], ["exec", "m1", "--", "true"], ["partition", "m1"]]
)
def test_a_lab_that_is_not_there_is_named(verb: list[str]) -> None:
    result = CliRunner().invoke(lab.lab, [verb[0], "--name", "nothere", *verb[1:]])
    assert isinstance(result.exception, NotFound)
    assert "there is no lab 'nothere'" in str(result.exception)


def test_removing_a_lab_that_is_not_there_is_no_error() -> None:
    result = CliRunner().invoke(lab.lab, ["down", "--name", "nothere"])
    assert (result.exit_code, result.output) == (0, "there was no lab nothere\n")


def test_second_value_of_an_option_is_told_to_repeat_it() -> None:
    said = invoke("lab", "up", "--metadata", "m1=a=b", "m2=c=d")
    assert said.code == 2
    assert "m2=c=d" in said.err
    assert "write it again for each further one (--metadata, --set, --bind)" in said.err
