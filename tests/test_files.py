"""Files that are written whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from argosy.files import LONGEST_NAME, staged, write


@pytest.mark.parametrize("durable", [False, True])
def test_the_file_has_the_new_content_and_nothing_else_is_left(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "file"
    for content in (b"", b"first", b"second, longer", b"3"):
        write(path, content, durable=durable)
        assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["file"]


def test_a_reader_keeps_the_file_that_it_has_opened(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write(path, b"old")
    with path.open("rb") as reader:
        write(path, b"new")
        assert reader.read() == b"old"


def test_a_full_disk_leaves_the_old_file_and_the_error_names_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write(path, b"old")
    os.symlink("/dev/full", staged(path))
    with pytest.raises(OSError, match=r"No space left on device: '.*/file'"):
        write(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_what_a_crash_left_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "file"
    Path(staged(path)).write_bytes(b"half of something much longer")
    write(path, b"whole")
    assert path.read_bytes() == b"whole"
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_that_is_missing_keeps_the_kind_of_the_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="gone/file"):
        write(tmp_path / "gone" / "file", b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write(tmp_path / "folder", b"")


@pytest.mark.parametrize(("mode", "umask", "expected"), [(0o666, 0o022, 0o644), (0o600, 0, 0o600), (0o644, 0o077, 0o600)])
def test_the_mode_is_narrowed_by_the_umask(tmp_path: Path, mode: int, umask: int, expected: int) -> None:
    before = os.umask(umask)
    try:
        write(tmp_path / "file", b"", mode=mode)
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == expected


@pytest.mark.parametrize("name", ["a", "x" * LONGEST_NAME, "ä" * (LONGEST_NAME // 2)])
def test_every_name_that_a_file_system_takes_can_be_written(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, b"content")
    assert (tmp_path / name).read_bytes() == b"content"
    assert Path(staged(tmp_path / name)).name.startswith(".")


def test_a_plain_name_is_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write("file", b"content", durable=True)
    assert (tmp_path / "file").read_bytes() == b"content"
