"""What the supervisor keeps on disk: whole or not at all, and read with suspicion."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from argosy.agent.supervise.saved import LONGEST_FOLDER, Files, SavedUnit, Settings, folder_name
from argosy.agent.supervise.states import Exit, Job, Pid, Run, Sub
from argosy.files import staged

RUN = Run(
    Sub.RUNNING, Job.NONE, 3, 1.5, 1.25, 2, "success", Exit("exited", 1), Pid(10, 20), None, (Pid(10, 20),), invocation="ab", limit_count=1
)


def test_what_is_kept_is_found_again(tmp_path: Path) -> None:
    files = Files(tmp_path, "boot")
    files.keep_unit(SavedUnit("a.service", "text", "older", leaving=True))
    files.keep_run("a.service", RUN)
    files.keep_settings(Settings({"A": "b"}, "id", "host"))
    again = Files(tmp_path, "boot")
    (found,) = again.units()
    assert (found.name, found.unit, found.run, found.broken) == (
        "a.service", SavedUnit("a.service", "text", "older", leaving=True), RUN, False,
    )  # fmt: skip
    assert again.settings() == Settings({"A": "b"}, "id", "host")
    assert again.id == files.id
    again.forget("a.service")
    assert not list(again.units())
    assert not list((tmp_path / "units").iterdir())


def test_runs_of_another_boot_are_forgotten(tmp_path: Path) -> None:
    files = Files(tmp_path, "boot")
    files.keep_unit(SavedUnit("a.service", "text"))
    files.keep_run("a.service", RUN)
    (found,) = Files(tmp_path, "another boot").units()
    assert (found.run, found.broken) == (None, False)


@pytest.mark.parametrize("content", [b"", b"{", b'{"name": "a.service", "boot": "boot"}', b"\xff\xfe", b'{"name": 1}', b"[]"])
def test_a_broken_record_is_told_apart_from_none(tmp_path: Path, content: bytes) -> None:
    files = Files(tmp_path, "boot")
    files.keep_unit(SavedUnit("a.service", "text"))
    (tmp_path / "units" / "a.service" / "run").write_bytes(content)
    (found,) = files.units()
    assert (found.unit, found.run, found.broken) == (SavedUnit("a.service", "text"), None, True)
    (tmp_path / "units" / "a.service" / "unit").write_bytes(content)
    (found,) = files.units()
    assert (found.name, found.unit, found.run, found.broken) == ("a.service", None, None, True)


def test_a_record_in_another_units_place_is_not_believed(tmp_path: Path) -> None:
    files = Files(tmp_path, "boot")
    files.keep_unit(SavedUnit("a.service", "text"))
    (tmp_path / "units" / "a.service").rename(tmp_path / "units" / "b.service")
    assert list(files.units()) == []


def test_a_full_disk_is_told_and_made_up_for(tmp_path: Path) -> None:
    files = Files(tmp_path, "boot")
    files.keep_unit(SavedUnit("a.service", "old"))
    new = Path(staged(tmp_path / "units" / "a.service" / "unit"))
    new.symlink_to("/dev/full")
    files.keep_unit(SavedUnit("a.service", "new"))
    assert "No space left on device" in files.trouble
    assert next(files.units()).unit == SavedUnit("a.service", "old"), "whole, or not at all"
    assert not new.exists()
    new.symlink_to("/dev/full")
    assert not files.retry()
    assert files.retry(), "the failed attempt has removed what was in the way"
    assert files.trouble == ""
    assert next(files.units()).unit == SavedUnit("a.service", "new")


def test_the_latest_of_what_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    files = Files(tmp_path, "boot")
    files.keep_unit(SavedUnit("a.service", "text"))
    for launch in (1, 2):
        os.symlink("/dev/full", staged(tmp_path / "units" / "a.service" / "run"))
        files.keep_run("a.service", Run(launch=launch))
    assert files.retry()
    assert next(files.units()).run == Run(launch=2)


def test_names_that_are_too_long_for_a_folder_are_shortened_and_stay_apart() -> None:
    names = [f"{'x' * 240}{number}.service" for number in range(3)]
    folders = {folder_name(name) for name in names}
    assert len(folders) == 3
    assert max(map(len, folders)) <= LONGEST_FOLDER
    assert folder_name("short.service") == "short.service"


def test_only_its_owner_can_read_what_is_kept(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        kept = Files(tmp_path, "boot")
        kept.keep_unit(SavedUnit("a.service", "text"))
    finally:
        os.umask(old)
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "units").rglob("*")} == {0}
