"""argosy verify: every file, good and bad, without any agent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.api.house import M1, M2
from tests.cli.stage import Stage, invoke

GOOD = "[Unit]\nDescription=Hello\n\n[Service]\nExecStart=/bin/sleep 1000\n"

FILES: list[tuple[str, str, bytes, int, str]] = [
    ("good", "a.service", GOOD.encode(), 0, "{path}: good\n"),
    ("an unknown key for fleet", "a.service", GOOD.encode() + b"[X-Fleet]\nColour=red\n", 1, "{path}:7: error: "),
    ("what the supervisor does not honour", "a.service", GOOD.encode() + b"PrivateTmp=yes\n", 0, "{path}:6: warning: "),
    (
        "contradictions",
        "a.service",
        GOOD.encode() + b"[X-Fleet]\nGlobal=true\nMachineOf=b.service\n",
        1,
        "{path}:7: error: Global cannot be used with Peers\n",
    ),
    ("no section header", "a.service", b"Description=x\n" + GOOD.encode(), 0, "{path}:1: warning: "),
    ("empty", "a.service", b"", 1, "{path}: error: the file is empty\n"),
    ("binary", "a.service", b"\x7fELF\x00\x01", 1, "{path}: error: line 1: a NUL byte; this is a binary file, not a unit file\n"),
    ("not UTF-8", "a.service", b"[Service]\nExecStart=/bin/\xff\n", 1, "{path}: error: line 2: byte 0xff is not UTF-8"),
    ("a megabyte", "a.service", b"[Service]\n" + b"#" * 1_000_000, 1, "{path}: error: the unit file has 1000010 bytes; the most is 262144"),
    ("not named as a unit", "notes.txt", GOOD.encode(), 1, "{path}: error: unit name 'notes.txt' ends in 'txt', which is no unit type"),
]


@pytest.mark.parametrize(("sentence", "name", "content", "code", "said"), FILES, ids=[row[0] for row in FILES])
def test_a_file(sentence: str, name: str, content: bytes, code: int, said: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    found = invoke("verify", "--runtime=supervisor", str(path))
    assert (found.code, found.err) == (code, "")
    assert said.format(path=path) in found.out


def test_files_that_cannot_be_read_do_not_hide_the_others(tmp_path: Path) -> None:
    good = tmp_path / "a.service"
    good.write_text(GOOD)
    said = invoke("verify", str(tmp_path / "missing.service"), str(tmp_path), str(good))
    assert said.code == 1
    assert said.out.splitlines() == [
        f"{tmp_path}/missing.service: error: cannot be read: No such file or directory",
        f"{tmp_path}: error: cannot be read: Is a directory",
        f"{good}: good",
    ]


def test_problems_as_json(tmp_path: Path) -> None:
    path = tmp_path / "a.service"
    path.write_text(GOOD + "PrivateTmp=yes\n")
    (problem,) = json.loads(invoke("verify", "--runtime=all", "--json", str(path)).out)
    assert (problem["file"], problem["line"], problem["severity"]) == (str(path), 6, "warning")
    assert "PrivateTmp" in problem["message"]
    path.write_text(GOOD)
    assert json.loads(invoke("verify", "--runtime=all", "--json", str(path)).out) == []


def test_dropins_are_checked_with_their_own_lines(tmp_path: Path) -> None:
    (tmp_path / "a.service").write_text(GOOD)
    (tmp_path / "a.service.d").mkdir()
    dropin = tmp_path / "a.service.d" / "more.conf"
    dropin.write_text("[Service]\nRestrat=always\n")
    said = invoke("verify", "--runtime=systemd", str(tmp_path / "a.service"))
    assert said.out.startswith("a.service.d/more.conf:2: warning: unknown directive Restrat=")
    assert (said.code, len(said.out.splitlines())) == (0, 1)


async def test_runtime_is_that_of_the_clusters_machines(stage: Stage) -> None:
    stage.file("a.service", GOOD + "PrivateTmp=yes\n")
    assert "ignored by the supervisor" in await stage.good("verify", "--runtime=supervisor", "a.service")
    await stage.house.machine(M1, runtime="systemd")
    assert await stage.good("verify", "a.service") == "a.service: good\n"
    await stage.house.machine(M2, runtime="supervisor")
    assert "ignored by the supervisor" in await stage.good("verify", "a.service")
