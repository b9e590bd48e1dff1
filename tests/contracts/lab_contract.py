"""The lab's Driver contract as a test suite: `lab/base.py`, sentence by sentence. Every kind of machine passes all of it.

To run it on a driver, subclass `LabContract` in a test file (its name must begin with `Test`) and give `make_driver` and, where it cannot
run everywhere, a reason to skip. The machines carry an installed agent, but nothing here needs it to work.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import msgspec
import pytest

from argosy.errors import RuntimeFailed
from argosy.lab import cgroups, members, processes, trust
from argosy.lab.base import Driver, Power, lines, run
from argosy.lab.state import LabRecord, MachineRecord, save
from argosy.programs import Finished

DEADLINE = 20.0

STORE_PROBE = """
import socket, sys, tomllib, os
url = tomllib.load(open(sys.argv[1], "rb"))["store"]["url"]
kind, _, where = url.partition(":")
if kind == "sqlite":
    print("reached" if os.path.exists(where) else "cut off")
    sys.exit()
answers = 0
for member in where.split(","):
    host, _, port = member.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=0.5).close()
        answers += 1
    except OSError as error:
        print(type(error).__name__, file=sys.stderr)
print("reached" if 2 * answers > len(where.split(",")) else "cut off")
"""
"""Whether a machine reaches its store: the file, or more than half of the etcd members."""


class Ground:
    """A lab of three machines, all on. `do` runs a shell script in one."""

    def __init__(self, driver: Driver, lab: LabRecord) -> None:
        self.driver = driver
        self.lab = lab

    async def do(self, name: str, script: str, *arguments: str) -> Finished:
        return await run(await self.driver.command(self.lab, name, ["sh", "-c", script, "sh", *arguments]), timeout=DEADLINE)

    async def reaches_store(self, name: str) -> str:
        config = "/etc/argosy/argosy.toml" if self.driver.kind == "nspawn" else str(self.lab.place(name) / "argosy.toml")
        done = await run(await self.driver.command(self.lab, name, ["python3", "-c", STORE_PROBE, config]), timeout=DEADLINE)
        return done.stdout.strip() or done.stderr

    async def becomes(self, name: str, wanted: str) -> None:
        end = time.monotonic() + DEADLINE
        while (found := await self.reaches_store(name)) != wanted:
            assert time.monotonic() < end, f"{name} and the store: {found!r}, not {wanted!r}"

    async def eventually(self, name: str, script: str, word: str) -> None:
        """The script, run again and again on the machine, says the word at last."""
        end = time.monotonic() + DEADLINE
        while word not in (done := await self.do(name, script)).stdout:
            assert time.monotonic() < end, f"{script!r} on {name} says {done}, not {word!r}"

    async def powered(self, name: str) -> Power:
        return await self.driver.power(self.lab, name)

    async def pids(self, name: str) -> set[int]:
        return {process.pid for process in await self.driver.processes(self.lab, name)}

    async def pid_of(self, name: str, word: str) -> int:
        """What `_background` has started, once it is there."""
        end = time.monotonic() + DEADLINE
        while True:
            for process in await self.driver.processes(self.lab, name):
                if process.command.startswith(f"sh -c : {word}"):
                    return process.pid
            assert time.monotonic() < end, f"no {word} on {name}"


async def raised(driver: Driver, folder: Path, machines: int = 3) -> Ground:
    """So many machines of that driver, created and started."""
    lab = LabRecord(folder.name, str(folder), driver.kind, min(set(range(256)) - await driver.numbers_taken()), 5.0, time.time())
    names = tuple(f"m{number}" for number in range(1, machines + 1))
    for number in range(1, machines + 1):
        address, router = driver.addresses(lab.number, number)
        lab = lab.with_machine(MachineRecord(f"m{number}", number, os.urandom(16).hex(), address, router))
    lab = msgspec.structs.replace(lab, members=members.choose(names))
    await asyncio.to_thread(folder.mkdir, parents=True)
    await driver.prepare(lab)
    await asyncio.to_thread(save, lab)
    await asyncio.to_thread(trust.make_authority, lab)
    ground = Ground(driver, lab)
    for name in names:
        await driver.create(lab, name)
        assert await ground.powered(name) is Power.OFF
        assert await driver.processes(lab, name) == ()
    await asyncio.gather(*(driver.start(lab, name) for name in names))
    return ground


def traces(folder: str) -> list[str]:
    """What there is of a lab on this host, wherever it could be."""
    found = [f"process {pid}" for pid in processes.below(folder, processes.scan())]
    found += [f"mount {line}" for line in Path("/proc/self/mountinfo").read_text().splitlines() if folder in line]
    found += [f"link {name}" for name in os.listdir("/sys/class/net") if _alias(name) == folder]
    old, new = cgroups.hierarchies()
    groups = [place / cgroups.TOP / Path(folder).name for place in (*old, *((new,) if new else ()))]
    found += [f"group {path}" for path in groups if path.exists()]
    found += [f"file {path}" for path in Path("/run/systemd/nspawn").glob(f"*/{Path(folder).name}-m[0-9]*")]
    return found + ([f"folder {folder}"] if Path(folder).exists() else [])


class LabContract:
    @classmethod
    def make_driver(cls) -> Driver:
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def ground(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
        driver = cls.make_driver()
        folder = tmp_path_factory.mktemp("l") / f"c{os.getpid()}"
        asyncio.run(driver.clear(str(folder)))
        try:
            yield asyncio.run(raised(driver, folder))
        finally:
            asyncio.run(driver.clear(str(folder)))
            assert traces(str(folder)) == []

    # ------------------------------------------------------------------ commands inside

    async def test_a_command_gets_its_arguments_as_they_are(self, ground: Ground) -> None:
        done = await ground.do("m1", 'printf "<%s>" "$@"', "a b", "'", '"', "$HOME", "", "--", "-x", "ü", "a\nb")
        assert done == Finished(0, "<a b><'><\"><$HOME><><--><-x><ü><a\nb>", "")

    async def test_a_command_tells_its_streams_apart_and_how_it_ended(self, ground: Ground) -> None:
        assert await ground.do("m2", "echo out; echo err >&2; exit 7") == Finished(7, "out\n", "err\n")

    async def test_a_command_reads_what_it_is_given(self, ground: Ground) -> None:
        command = await ground.driver.command(ground.lab, "m3", ["cat"])
        assert (await run(command, b"x" * 300_000, timeout=DEADLINE)).stdout == "x" * 300_000

    async def test_a_command_that_takes_too_long_is_ended(self, ground: Ground) -> None:
        command = await ground.driver.command(ground.lab, "m1", ["sleep", "98761"])
        with pytest.raises(RuntimeFailed, match="did not end within"):
            await run(command, timeout=0.3)
        assert not [process for process in await ground.driver.processes(ground.lab, "m1") if "98761" in process.command]

    async def test_lines_come_while_the_command_goes_on_and_closing_ends_it(self, ground: Ground) -> None:
        command = await ground.driver.command(ground.lab, "m1", ["sh", "-c", "echo one; echo two >&2; exec sleep 98762"])
        said = []
        async with aclosing(lines(command)) as stream:
            async for line in stream:
                said.append(line)
                if len(said) == 2:
                    break
        assert sorted(said) == ["one", "two"]
        assert not [process for process in await ground.driver.processes(ground.lab, "m1") if "98762" in process.command]

    async def test_a_machine_knows_its_address_and_is_told_apart(self, ground: Ground) -> None:
        for machine in ground.lab.machines:
            done = await ground.do(machine.name, ". /etc/environment 2>/dev/null; echo $COREOS_PRIVATE_IPV4 $COREOS_PUBLIC_IPV4")
            assert done.stdout.split() == [machine.address, machine.address]

    async def test_the_program_is_at_hand(self, ground: Ground) -> None:
        done = await ground.do("m1", "argosy --version")
        assert (done.code, done.stdout.split()[0]) == (0, "argosy,")

    async def test_what_the_agent_says_is_at_hand(self, ground: Ground) -> None:
        end = time.monotonic() + DEADLINE
        while not (said := await ground.driver.log(ground.lab, "m1", 2)):
            assert time.monotonic() < end, "the agent says nothing"
        assert len(said.splitlines()) <= 2

    # ------------------------------------------------------------------ power

    async def test_starting_a_machine_that_runs_changes_nothing(self, ground: Ground) -> None:
        await _background(ground, "m1", "98763")
        before = await ground.pid_of("m1", "98763")
        await ground.driver.start(ground.lab, "m1")
        assert before in await ground.pids("m1")
        assert await ground.powered("m1") is Power.ON

    async def test_a_power_cut_leaves_no_process_not_even_detached_ones(self, ground: Ground) -> None:
        await _background(ground, "m2", "98764")
        await ground.pid_of("m2", "98764")
        other = await ground.pids("m3")
        before = await ground.pids("m2")
        await ground.driver.kill(ground.lab, "m2")
        assert await asyncio.to_thread(_running, before) == set()
        assert (await ground.powered("m2"), await ground.pids("m2")) == (Power.OFF, set())
        assert await ground.pids("m3") & other
        with pytest.raises(RuntimeFailed, match="m2 is off"):
            await ground.driver.command(ground.lab, "m2", ["true"])
        await ground.driver.kill(ground.lab, "m2")
        await ground.driver.start(ground.lab, "m2")
        assert await ground.powered("m2") is Power.ON

    async def test_a_machine_keeps_its_disk_and_forgets_the_rest(self, ground: Ground) -> None:
        await ground.do("m2", "mkdir -p $ARGOSY_PATHS_STATE && echo kept >$ARGOSY_PATHS_STATE/note && echo lost >$ARGOSY_PATHS_RUN/note")
        assert (await asyncio.to_thread((ground.lab.place("m2") / "run/note").read_text)) == "lost\n"
        await ground.driver.kill(ground.lab, "m2")
        await ground.driver.start(ground.lab, "m2")
        done = await ground.do("m2", "cat $ARGOSY_PATHS_STATE/note; test -e $ARGOSY_PATHS_RUN/note || echo forgotten")
        assert done.stdout == "kept\nforgotten\n"

    async def test_a_paused_machine_stands_still_and_goes_on_where_it_was(self, ground: Ground) -> None:
        ticks = ground.lab.place("m3") / "run/ticks"
        await _background(ground, "m3", f"98765; while :; do echo >>$ARGOSY_PATHS_RUN/{ticks.name}; done")
        await _until(lambda: _size(ticks) > 100)
        before = await ground.pids("m3")
        await ground.driver.pause(ground.lab, "m3")
        assert await ground.powered("m3") is Power.PAUSED
        stood = await asyncio.to_thread(_size, ticks)
        assert await ground.powered("m1") is Power.ON  # looking at the others takes a while, too
        assert await asyncio.to_thread(_size, ticks) == stood
        await ground.driver.resume(ground.lab, "m3")
        assert await ground.powered("m3") is Power.ON
        await _until(lambda: _size(ticks) > stood)
        assert (await ground.pid_of("m3", "98765")) in before
        await ground.do("m3", "pkill -f 98765")

    async def test_the_power_of_a_paused_machine_can_be_cut(self, ground: Ground) -> None:
        await ground.driver.pause(ground.lab, "m3")
        await ground.driver.kill(ground.lab, "m3")
        assert await ground.powered("m3") is Power.OFF
        for refused in (ground.driver.pause, ground.driver.resume):
            with pytest.raises(RuntimeFailed, match="m3 is off"):
                await refused(ground.lab, "m3")
        await ground.driver.start(ground.lab, "m3")
        assert await ground.powered("m3") is Power.ON

    # ------------------------------------------------------------------ network

    async def test_a_partition_cuts_a_minority_off_the_store_and_heals(self, ground: Ground) -> None:
        for name in ("m1", "m2", "m3"):
            await ground.becomes(name, "reached")
        cut = msgspec.structs.replace(ground.lab, groups=(("m1",), ("m2", "m3")))
        await ground.driver.connect(cut)
        assert [await ground.reaches_store(name) for name in ("m1", "m2", "m3")] == ["cut off", "reached", "reached"]
        await ground.driver.connect(msgspec.structs.replace(ground.lab, groups=(("m1",), ("m2",), ("m3",))))
        assert {await ground.reaches_store(name) for name in ("m1", "m2", "m3")} == {"cut off"}
        await ground.driver.connect(ground.lab)
        for name in ("m1", "m2", "m3"):
            await ground.becomes(name, "reached")

    async def test_a_machine_that_reboots_during_a_partition_stays_on_its_side(self, ground: Ground) -> None:
        cut = msgspec.structs.replace(ground.lab, groups=(("m1", "m2"), ("m3",)))
        await ground.driver.connect(cut)
        await ground.driver.kill(cut, "m3")
        await ground.driver.start(cut, "m3")
        assert await Ground(ground.driver, cut).reaches_store("m3") == "cut off"
        await ground.driver.connect(ground.lab)
        await ground.becomes("m3", "reached")

    # ------------------------------------------------------------------ coming and going

    async def test_numbers_in_use_are_seen(self, ground: Ground) -> None:
        assert ground.lab.number in await ground.driver.numbers_taken()

    async def test_a_machine_can_join_and_be_removed(self, ground: Ground) -> None:
        address, router = ground.driver.addresses(ground.lab.number, 4)
        larger = ground.lab.with_machine(MachineRecord("m4", 4, os.urandom(16).hex(), address, router))
        await ground.driver.create(larger, "m4")
        await ground.driver.start(larger, "m4")
        joined = Ground(ground.driver, larger)
        assert (await joined.do("m4", "echo here")).stdout == "here\n"
        await joined.becomes("m4", "reached")
        await ground.driver.remove(larger, "m4")
        assert await asyncio.to_thread(traces, larger.mark("m4")) == []
        assert await ground.powered("m1") is Power.ON

    async def test_everything_is_cleared_by_the_folder_alone(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        driver = self.make_driver()
        folder = tmp_path_factory.mktemp("l") / f"d{os.getpid()}"
        await driver.clear(str(folder))
        ground = await raised(driver, folder, machines=2)
        await driver.pause(ground.lab, "m1")
        await driver.connect(msgspec.structs.replace(ground.lab, groups=(("m1",), ("m2",))))
        await asyncio.to_thread((folder / "lab.json").unlink)
        await self.make_driver().clear(str(folder))
        assert await asyncio.to_thread(traces, str(folder)) == []
        await driver.clear(str(folder))


async def _background(ground: Ground, name: str, word: str) -> None:
    """Something that has left its parent and its session behind; its command line holds the word."""
    await ground.do(name, f"setsid --fork sh -c ': {word}; sleep 98760' </dev/null >/dev/null 2>&1")


async def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < end, "it did not come about"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _running(pids: set[int]) -> set[int]:
    return {pid for pid, seen in processes.scan().items() if pid in pids and seen.alive}


def _alias(link: str) -> str:
    try:
        return Path(f"/sys/class/net/{link}/ifalias").read_text().strip()
    except OSError:
        return ""
