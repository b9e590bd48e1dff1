"""Units as people name them, and the files that are meant."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from argosy.cli.files import Given, given
from argosy.cli.names import known
from argosy.errors import ArgosyError

TEXT = "[Service]\nExecStart=/bin/true\n"


def text_of(unit: Given) -> str:
    return unit.file.text if unit.file else ""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    before = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


def test_a_file_here_is_read_and_its_name_is_the_units(folder: Path) -> None:
    (folder / "hello.service").write_text(TEXT)
    assert [(unit.name, text_of(unit)) for unit in given(["hello"])] == [("hello.service", TEXT)]


def test_an_instance_takes_its_templates_file(folder: Path) -> None:
    (folder / "hello@.service").write_text(TEXT)
    (unit,) = given(["hello@1"])
    assert (unit.name, text_of(unit), unit.path, unit.template) == ("hello@1.service", TEXT, "hello@.service", "hello@.service")


def test_an_instances_own_file_comes_before_its_templates(folder: Path) -> None:
    (folder / "hello@.service").write_text(TEXT)
    (folder / "hello@1.service").write_text("[Service]\nExecStart=/bin/false\n")
    (unit,) = given(["hello@1"])
    assert "false" in text_of(unit)
    assert unit.template == ""


def test_files_elsewhere_are_named_by_path(folder: Path) -> None:
    (folder / "units").mkdir()
    (folder / "units" / "a.service").write_text(TEXT)
    assert given([str(folder / "units" / "a.service"), "units/a"])[0].name == "a.service"


def test_what_is_no_file_is_a_unit_that_the_cluster_may_know(folder: Path) -> None:
    assert given(["hello", "hello.service", "db.socket"]) == [Given("hello.service"), Given("db.socket")]


def test_units_that_the_cluster_knows_are_named_also_by_the_paths_of_their_files() -> None:
    assert known(["hello", "units/hello.service", "a@1"]) == ["hello.service", "a@1.service"]


@pytest.mark.parametrize("word", ["notes.txt", "./notes.txt"])
def test_a_file_that_is_not_named_as_a_unit_file_is_told_so(folder: Path, word: str) -> None:
    (folder / "notes.txt").write_text(TEXT)
    with pytest.raises(ArgosyError, match=r"notes\.txt is not named as a unit file"):
        given([word])


@pytest.mark.parametrize("word", ["../x.service", "units/none.service", "a b", "x" * 300, "@1", "a.service\n", ""])
def test_bad_names_are_refused_before_anything_is_sent(folder: Path, word: str) -> None:
    with pytest.raises(ArgosyError):
        given([word])


def test_a_binary_file_is_refused_by_its_path(folder: Path) -> None:
    (folder / "b.service").write_bytes(b"\x7fELF\x00\x01")
    with pytest.raises(ArgosyError, match=r"b\.service"):
        given(["b"])


def test_a_file_of_a_megabyte_is_refused_by_its_size(folder: Path) -> None:
    (folder / "big.service").write_text("[Service]\n" + "Environment=A=b\n" * 70_000)
    with pytest.raises(ArgosyError, match="KiB"):
        given(["big"])
