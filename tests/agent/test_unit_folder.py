"""Unit files and what is remembered beside them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from argosy.agent.systemd_unit import Ended, Launch, Memory
from argosy.agent.unit_folder import LAUNCHES, UnitFolder
from argosy.errors import InvalidUnit
from argosy.files import staged

ONE = Memory("1", Launch(1))
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


def test_launches_are_kept_by_unit_under_the_manager_they_were_asked_of(folder: UnitFolder) -> None:
    launch = Launch(3, 12.5, 2, True, True, Ended(0, "success", 13.0, 12.6), "ab")
    memory = Memory("manager 1", launch, "bad-setting", "no ExecStart=")
    assert folder.memories(["a.service"], "manager 1") == {}
    folder.remember({"a.service": memory, "b.service": Memory("manager 1", Launch(1))})
    assert folder.memories(["a.service", "c.service"], "manager 1") == {"a.service": memory}
    assert folder.memories(["a.service"], "manager 2") == {}, "another manager knows nothing of it"
    assert folder.texts() == {}, "they are no units"
    folder.remove(["a.service"])
    assert folder.memories(["a.service", "b.service"], "manager 1") == {"b.service": Memory("manager 1", Launch(1))}


def test_what_a_launch_writes_does_not_grow_with_what_is_remembered(folder: UnitFolder) -> None:
    folder.remember({f"u{number}.service": ONE for number in range(500)})
    before = {path.name: path.stat().st_ino for path in (folder.path / LAUNCHES).iterdir()}
    folder.remember({"u7.service": Memory("1", Launch(2))})
    after = {path.name: path.stat().st_ino for path in (folder.path / LAUNCHES).iterdir()}
    assert {name for name in after if after[name] != before[name]} == {"u7.service"}


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"manager": 1}', b"\xff"])
def test_a_damaged_memory_is_told_and_counts_for_nothing(folder: UnitFolder, caplog: pytest.LogCaptureFixture, content: bytes) -> None:
    folder.remember({"b.service": ONE})
    (folder.path / LAUNCHES / "a.service").write_bytes(content)
    assert folder.memories(["a.service", "b.service"], "1") == {"b.service": ONE}
    assert "cannot be read" in caplog.text


def test_what_is_wrong_with_a_file_is_said_in_words(folder: UnitFolder) -> None:
    folder.write("job.service", "[Service]\nType=oneshot\nRestart=always\nExecStart=/bin/true\n")
    folder.write("app.service", "[Service]\nExecStart=/bin/true\n")
    assert folder.problems("job.service") == ["line 3: Restart=always is not for Type=oneshot"]
    assert folder.problems("app.service") == folder.problems("gone.service") == []


def test_a_full_disk_leaves_what_there_was(folder: UnitFolder) -> None:
    folder.write("a.service", "old")
    folder.remember({"a.service": ONE})
    for place in (folder.path, folder.path / LAUNCHES):
        os.symlink("/dev/full", staged(place / "a.service"))
    with pytest.raises(OSError, match=r"No space left on device: '.*/a\.service'"):
        folder.write("a.service", "new")
    with pytest.raises(OSError, match="No space left"):
        folder.remember({"a.service": Memory("1", Launch(2))})
    assert folder.texts() == {"a.service": "old"}
    assert folder.memories(["a.service"], "1") == {"a.service": ONE}
    assert sorted(os.listdir(folder.path)) == [LAUNCHES, "a.service"]


def test_foreign_files_are_passed_over(folder: UnitFolder) -> None:
    (folder.path / "binary.service").write_bytes(b"\xff\xfe")
    (folder.path / "folder.service").mkdir()
    Path(staged(folder.path / "a.service")).write_text("half")
    (folder.path / "README").write_text("not a unit")
    assert folder.texts() == {}
