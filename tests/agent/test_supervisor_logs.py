"""The log pump and those who read its files: real pipes, real files, no units."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from argosy.agent.supervise import journal, pump
from argosy.agent.supervise.outputs import KEPT_FOLDERS, Outputs
from argosy.agent.supervise.pump import LONGEST_LINE, SEGMENT, SEGMENTS, Output, segment, segments
from argosy.locks import holder
from argosy.model import LogLine
from tests.agent.supervisor_ground import Own, own_supervisor
from tests.contracts.runtime_ground import SLEEPER, alive, eventually, shell

MARK = b"\x1e0123456789abcdef"


class Pipe:
    """A unit's pipe with an Output that is pumped by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        os.mkfifo(folder / "output")
        self.output = Output(str(folder), MARK)
        self._writer = os.open(folder / "output", os.O_WRONLY | os.O_NONBLOCK)

    def write(self, data: bytes) -> None:
        os.write(self._writer, data)
        while self.output.read():
            pass

    def lines(self, count: int = 10000) -> Sequence[LogLine]:
        return journal.last(self.folder, count)[0]

    def texts(self) -> list[str]:
        return [line.text for line in self.lines()]

    def close(self) -> None:
        self.output.close()
        os.close(self._writer)


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Pipe]:
    made = Pipe(tmp_path)
    yield made
    made.close()


def test_each_line_has_its_time_and_who_wrote_it(pipe: Pipe) -> None:
    before = time.time()
    pipe.write(MARK + b"w\n" + MARK + b"p 42 hello.py\n" + b"one\ntwo\n")
    lines = pipe.lines()
    assert [(line.text, line.source, line.pid) for line in lines] == [("one", "hello.py", 42), ("two", "hello.py", 42)]
    assert all(before - 0.001 <= line.time <= time.time() for line in lines)


def test_lines_wait_for_the_number_of_their_process(pipe: Pipe) -> None:
    pipe.write(MARK + b"w\nearly\n")
    assert pipe.texts() == []
    pipe.write(MARK + b"p 42 sh\nlate\n")
    assert [(line.text, line.pid) for line in pipe.lines()] == [("early", 42), ("late", 42)]


def test_lines_whose_process_is_never_told_of_are_not_kept_back_for_ever(pipe: Pipe) -> None:
    pipe.write(MARK + b"w\nearly\n")
    assert pipe.output.held_until > time.monotonic()
    pipe.output.release()
    assert [(line.text, line.source, line.pid) for line in pipe.lines()] == [("early", "", 0)]


def test_the_supervisors_own_words_stand_in_their_place(pipe: Pipe) -> None:
    pipe.write(b"before\n" + MARK + b"s 7 Stopping.\nafter\n")
    assert [(line.text, line.source) for line in pipe.lines()] == [("before", ""), ("Stopping.", "argosy"), ("after", "")]


def test_a_line_that_is_not_finished_when_the_next_process_begins_is_a_line(pipe: Pipe) -> None:
    pipe.write(MARK + b"p 1 a\nno newline" + MARK + b"w\n" + MARK + b"p 2 b\nnext\n")
    assert [(line.text, line.pid) for line in pipe.lines()] == [("no newline", 1), ("next", 2)]


@pytest.mark.parametrize("cut", range(0, 60, 7))
def test_words_of_the_supervisor_may_arrive_in_pieces(tmp_path: Path, cut: int) -> None:
    pipe = Pipe(tmp_path)
    whole = b"text\npart" + MARK + b"w\n" + MARK + b"p 9 sh\nmore\n"
    pipe.write(whole[:cut])
    pipe.write(whole[cut:])
    assert [(line.text, line.pid) for line in pipe.lines()] == [("text", 0), ("part", 0), ("more", 9)]
    pipe.close()


def test_bytes_that_are_no_text_are_kept_and_shown_as_such(pipe: Pipe) -> None:
    pipe.write(b"a\tb \xff\0 c\n\n")
    assert pipe.texts() == ["a\tb \N{REPLACEMENT CHARACTER}\0 c", ""]


def test_a_line_without_end_is_cut(pipe: Pipe) -> None:
    for _ in range(10):
        pipe.write(b"x" * 30000)
    pipe.write(b"\n")
    assert "".join(pipe.texts()) == "x" * 300000
    assert max(map(len, pipe.texts())) <= LONGEST_LINE + 64 * 1024


def test_files_are_begun_anew_and_old_ones_removed(pipe: Pipe) -> None:
    line = b"y" * 1000 + b"\n"
    for _ in range((SEGMENTS + 2) * SEGMENT // (len(line) * 40)):
        pipe.write(line * 40)
    numbers = sorted(segments(str(pipe.folder)))
    assert len(numbers) == SEGMENTS
    assert numbers[0] > 1
    sizes = [os.path.getsize(segment(str(pipe.folder), number)) for number in numbers]
    assert max(sizes) <= SEGMENT
    assert sum(sizes) > SEGMENT * (SEGMENTS - 2)


def test_a_full_disk_loses_lines_and_says_how_many(pipe: Pipe) -> None:
    pipe.write(b"kept\n")
    first = segment(str(pipe.folder), 1)
    os.rename(first, f"{first}.kept")
    os.symlink("/dev/full", segment(str(pipe.folder), 2))
    pipe.output._next()
    pipe.write(b"lost\n" * 3)
    pipe.write(b"lost\n")
    os.unlink(segment(str(pipe.folder), 2))
    os.rename(f"{first}.kept", first)
    pipe.output._next()
    pipe.write(b"kept again\n")
    assert pipe.texts() == ["kept", "4 lines lost: No space left on device", "kept again"]


def test_writing_goes_on_where_the_last_pump_ended(tmp_path: Path) -> None:
    first = Pipe(tmp_path)
    first.write(b"one\n")
    first.close()
    (tmp_path / "output").unlink()
    second = Pipe(tmp_path)
    second.write(b"two\n")
    assert second.texts() == ["one", "two"]
    second.close()


# ---------------------------------------------------------------------- reading


def write(folder: Path, number: int, *texts: str, end: str = "\n") -> None:
    with open(segment(str(folder), number), "a") as file:
        file.write("\n".join(f"1700000000.5 7 sh\t{text}" for text in texts) + end)


def test_the_last_lines_are_gathered_over_files(tmp_path: Path) -> None:
    write(tmp_path, 8, "a", "b")
    write(tmp_path, 9, "c")
    write(tmp_path, 10, "d", "e")
    for count, texts in ((0, []), (1, ["e"]), (3, ["c", "d", "e"]), (4, ["b", "c", "d", "e"]), (99, ["a", "b", "c", "d", "e"])):
        assert [line.text for line in journal.last(tmp_path, count)[0]] == texts


def test_what_is_no_line_of_a_log_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, 1, "good")
    with open(segment(str(tmp_path), 1), "ab") as file:
        file.write(b"garbage\n\xff\xff\n1 2\tx\nx y z\tw\n\n")
    write(tmp_path, 1, "better")
    assert [line.text for line in journal.last(tmp_path, 99)[0]] == ["good", "better"]


def test_following_sees_every_line_once_over_half_lines_and_new_files(tmp_path: Path) -> None:
    write(tmp_path, 1, "a")
    found, at = journal.last(tmp_path, 10)
    write(tmp_path, 1, "b", end="")
    seen = [line.text for line in found]
    for _ in range(2):
        found, at = journal.following(tmp_path, at)
        seen += [line.text for line in found]
    assert seen == ["a"], "b is not complete"
    with open(segment(str(tmp_path), 1), "a") as file:
        file.write("b\n")
    write(tmp_path, 2, "c")
    write(tmp_path, 3, "d")
    for _ in range(5):
        found, at = journal.following(tmp_path, at)
        seen += [line.text for line in found]
    assert seen == ["a", "bb", "c", "d"]


def test_following_begins_before_there_is_a_log(tmp_path: Path) -> None:
    _, at = journal.last(tmp_path / "none", 10)
    assert journal.following(tmp_path / "none", at) == ((), at)
    (tmp_path / "none").mkdir()
    write(tmp_path / "none", 1, "a")
    found, at = journal.following(tmp_path / "none", at)
    assert [line.text for line in found] == ["a"]


def test_a_follower_that_is_too_slow_goes_on_with_what_is_left(tmp_path: Path) -> None:
    write(tmp_path, 1, "a")
    _, at = journal.last(tmp_path, 10)
    os.unlink(segment(str(tmp_path), 1))
    write(tmp_path, 7, "b")
    found, at = journal.following(tmp_path, at)
    assert [line.text for line in found] == ["b"]


# ---------------------------------------------------------------------- the pump as a process


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "logs"
    pid = holder(tmp_path / "logs" / "pump.lock")
    if pid is not None:
        os.kill(pid, 9)


def test_only_one_pump_runs_and_it_ends_when_told_with_nothing_left_behind(logs: Path) -> None:
    outputs = Outputs(logs)
    outputs.prepare("a.service")
    outputs.begins("a.service")
    with open(logs / "a.service" / "output", "wb", buffering=0) as pipe:
        pipe.write(b"before the pump\n")
        pumps = [subprocess.Popen([sys.executable, "-I", "-S", pump.__file__, str(logs)]) for _ in range(3)]
        end = time.monotonic() + 15
        while sum(child.poll() is None for child in pumps) > 1 or holder(logs / "pump.lock") is None:
            assert time.monotonic() < end
        pipe.write(b"without a newline")
    outputs.is_by("a.service", 5, "/bin/sh")
    outputs.quit()
    assert [child.wait(15) for child in pumps] == [0, 0, 0]
    found, _ = journal.last(logs / "a.service", 10)
    assert [(line.text, line.pid) for line in found] == [("before the pump", 5), ("without a newline", 5)]
    outputs.close("a.service")


def test_logs_of_units_that_are_gone_are_kept_for_a_while(logs: Path) -> None:
    outputs = Outputs(logs)
    for number in range(KEPT_FOLDERS + 5):
        outputs.prepare(f"{number}.service")
        os.utime(logs / f"{number}.service", (number, number))
    for number in range(KEPT_FOLDERS + 5):
        outputs.close(f"{number}.service")
    left = {path.name for path in logs.iterdir() if path.is_dir()}
    assert len(left) == KEPT_FOLDERS
    assert "0.service" not in left


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[Own]:
    async with own_supervisor(tmp_path) as own:
        yield own


async def test_a_flood_is_bounded_and_slows_nobody_else(own: Own) -> None:
    flood, other = await own.load(app="[Service]\nExecStart=/usr/bin/yes a line of a flood that never ends\n", first=SLEEPER)
    await own.runtime.start([(flood, 1)])
    await own.running(flood)
    folder = own.folder / "logs" / flood
    await eventually(lambda: any(folder.glob("*.log")) and not (folder / "00000001.log").exists(), "log file that is removed")
    for launch in range(1, 6):
        began = time.monotonic()
        await own.runtime.start([(other, launch)])
        await own.until(other, lambda seen: seen.active == "active", "active")
        assert time.monotonic() - began < 5
    size = sum(path.stat().st_size for path in folder.glob("*.log"))
    assert size <= (SEGMENTS + 1) * SEGMENT
    found = [line async for line in own.runtime.logs(flood, 100, False)]
    assert [line.text for line in found] == ["a line of a flood that never ends"] * 100
    pid = found[0].pid
    assert pid == (await own.see(flood)).pid
    await own.runtime.stop([flood])
    assert (await own.ended(flood)).result == "success"
    assert not alive(pid)


async def test_last_words_are_logged_even_without_a_newline(own: Own) -> None:
    name = await own.run(shell("printf 'last words'; exit 1"))
    await own.ended(name)
    await own.logged(name, "last words")


async def test_logs_of_an_unloaded_unit_can_still_be_read(own: Own) -> None:
    name = await own.run(shell("echo hello", "Type=oneshot"))
    await own.ended(name)
    await own.logged(name, "hello")
    await own.runtime.unload([name])
    assert "hello" in [line.text async for line in own.runtime.logs(name, 10, False)]


async def test_following_can_begin_before_the_unit_is_loaded(own: Own) -> None:
    async def first() -> str:
        async for line in own.runtime.logs(own.name("app"), 10, True):
            if not line.source.startswith("argosy"):
                return line.text
        return ""

    async with asyncio.timeout(15), asyncio.TaskGroup() as group:
        waiting = group.create_task(first())
        await own.run(shell("echo hello", "Type=oneshot"))
    assert waiting.result() == "hello"
