"""Unit files and what is remembered beside them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from argosy.agent.systemd_unit import Ended, Launch
from argosy.agent.unit_folder import Memory, UnitFolder
from argosy.errors import InvalidUnit

NAMES = ["../escape.service", "/etc/passwd.service", "a/b.service", "", ".hidden.service", "a\0.service", "x" * 300 + ".service"]


@pytest.fixture
def folder(tmp_path: Path) -> UnitFolder:
    folder = UnitFolder(tmp_path / "units")
    folder.prepare()
    return folder


def test_texts_are_kept_byte_for_byte(folder: UnitFolder) -> None:
    text = "\ufeff[Service]\r\nExecStart=/bin/ä \\\r\n  b\n\n"
    assert folder.write("a@1.service", text)
    assert not folder.write("a@1.service", text), "the same again is no change"
    assert folder.texts() == {"a@1.service": text}
    assert folder.write("a@1.service", text + "#\n")
    folder.remove(["a@1.service", "never.service"])
    folder.remove(["a@1.service"])
    assert folder.texts() == {}


@pytest.mark.parametrize("name", NAMES)
def test_nothing_but_a_unit_name_becomes_a_path(folder: UnitFolder, tmp_path: Path, name: str) -> None:
    for refused in (lambda: folder.write(name, "x"), lambda: folder.remove([name]), lambda: folder.file(name)):
        with pytest.raises(InvalidUnit):
            refused()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_memory_is_kept(folder: UnitFolder) -> None:
    memory = Memory("manager 1", {"a.service": Launch(3, 12.5, 2, True, True, Ended(0, "success", 13.0, 12.6), "ab")})
    assert folder.memory() == Memory()
    folder.remember(memory)
    assert folder.memory() == memory
    assert folder.texts() == {}, "it is no unit"


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"units": {"a": 1}}', b"\xff"])
def test_damaged_memory_is_told_and_counts_for_nothing(folder: UnitFolder, caplog: pytest.LogCaptureFixture, content: bytes) -> None:
    (folder.path / ".launches.json").write_bytes(content)
    assert folder.memory() == Memory()
    assert "cannot be read" in caplog.text


def test_a_full_disk_leaves_what_there_was(folder: UnitFolder) -> None:
    folder.write("a.service", "old")
    folder.remember(Memory("1"))
    blocked = folder.path / ".new"
    os.symlink("/dev/full", blocked)
    with pytest.raises(OSError, match="No space left"):
        folder.write("a.service", "new")
    os.symlink("/dev/full", folder.path / ".launches.json.new")
    with pytest.raises(OSError, match="No space left"):
        folder.remember(Memory("2"))
    assert folder.texts() == {"a.service": "old"}
    assert folder.memory() == Memory("1")
    assert sorted(os.listdir(folder.path)) == [".launches.json", "a.service"]


def test_foreign_files_are_passed_over(folder: UnitFolder) -> None:
    (folder.path / "binary.service").write_bytes(b"\xff\xfe")
    (folder.path / "folder.service").mkdir()
    (folder.path / ".new").write_text("half")
    (folder.path / "README").write_text("not a unit")
    assert folder.texts() == {}
