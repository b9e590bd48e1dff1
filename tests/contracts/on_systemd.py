"""The Runtime contract on a real systemd, and what only systemd can do: to be run inside a machine that was booted with one, as root.

tests/lab/test_systemd.py does that; by itself this file is not collected, for there is no systemd to be had outside such a machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from argosy.agent.runtime import Runtime
from argosy.agent.systemd import SystemdRuntime
from argosy.errors import NotFound, RuntimeFailed
from tests.contracts.runtime_contract import RuntimeContract
from tests.contracts.runtime_ground import DEADLINE, SLEEPER, Ground, alive, close, is_running, on_ground, shell

SYSTEM_LINKS = Path("/run/systemd/system")


def system_folder() -> Path:
    return Path(f"/run/argosy-test/{uuid.uuid4().hex}")


class TestTheSystemsManager(RuntimeContract):
    @pytest.fixture
    async def ground(self, tmp_path: Path) -> AsyncIterator[Ground]:
        folder = system_folder()
        async with on_ground(lambda: SystemdRuntime.connect("system", folder), tmp_path) as ground:
            yield ground


@pytest.fixture(scope="session")
def user_socket() -> Path:
    """The private socket of root's own systemd, which is started for it."""
    subprocess.run(["systemctl", "start", f"user@{os.getuid()}.service"], check=True, timeout=30)
    return Path(f"/run/user/{os.getuid()}/systemd/private")


class TestAUsersManager(RuntimeContract):
    @pytest.fixture
    async def ground(self, tmp_path: Path, user_socket: Path) -> AsyncIterator[Ground]:
        folder = Path(f"/run/user/{os.getuid()}/argosy-test/{uuid.uuid4().hex}")
        async with on_ground(lambda: SystemdRuntime.connect("user", folder, user_socket), tmp_path) as ground:
            yield ground


# ---------------------------------------------------------------- what only systemd can do


@pytest.fixture
async def ground(tmp_path: Path) -> AsyncIterator[Ground]:
    folder = system_folder()
    async with on_ground(lambda: SystemdRuntime.connect("system", folder), tmp_path) as ground:
        yield ground


async def systemctl(*arguments: str) -> str:
    """What systemctl says; that it fails is no error (`is-enabled` does so to say no)."""
    process = await asyncio.create_subprocess_exec("systemctl", *arguments, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return out.decode().strip()


async def again(runtime: Runtime) -> None:
    """Until the runtime answers again."""
    async with asyncio.timeout(DEADLINE):
        while True:
            with contextlib.suppress(RuntimeFailed):
                await runtime.units()
                return
            await asyncio.sleep(0.02)


async def lost(changes: AsyncIterator[frozenset[str]]) -> None:
    """Until the changes say that the connection is gone."""
    with contextlib.suppress(RuntimeFailed):
        async with asyncio.timeout(DEADLINE):
            while True:
                await anext(changes)
    await close(changes)


async def test_a_unit_of_the_hosts_own_that_runs_is_neither_replaced_nor_listed(ground: Ground) -> None:
    before = await systemctl("show", "-P", "MainPID", "systemd-journald.service")
    with pytest.raises(RuntimeFailed) as caught:
        await ground.runtime.load([("systemd-journald.service", SLEEPER), (ground.name("app"), SLEEPER)])
    assert set(caught.value.refused) == {"systemd-journald.service"}
    assert "of its own" in caught.value.refused["systemd-journald.service"]
    await ground.runtime.stop(["systemd-journald.service"])
    await ground.runtime.kill(["systemd-journald.service"])
    await ground.runtime.unload(["systemd-journald.service"])
    assert await systemctl("show", "-P", "MainPID", "systemd-journald.service") == before != "0"
    assert list(await ground.runtime.units()) == [ground.name("app")]
    for ask in (ground.runtime.detail("systemd-journald.service"), anext(ground.runtime.logs("systemd-journald.service", 10, False))):
        with pytest.raises(NotFound):
            await ask


BY_ITSELF: Sequence[tuple[str, str, str, Sequence[str]]] = [
    # how systemd starts @app@ by itself; the unit that makes it do so, and its text; what is told to systemctl
    ("a timer", "first.timer", "[Timer]\nUnit=@app@\nOnActiveSec=50ms\nAccuracySec=1ms\n", ["start", "@first.timer@"]),
    ("a calendar", "first.timer", "[Timer]\nUnit=@app@\nOnCalendar=*:*:0/1\nAccuracySec=1ms\n", ["start", "@first.timer@"]),
    ("a path", "first.path", "[Path]\nUnit=@app@\nPathExists=/\n", ["start", "@first.path@"]),
    ("Requires= of another", "first.service", "[Unit]\nRequires=@app@\n" + SLEEPER, ["start", "@first.service@"]),
    ("Wants= of another", "first.service", "[Unit]\nWants=@app@\n" + SLEEPER, ["start", "@first.service@"]),
    ("BindsTo= of another", "first.service", "[Unit]\nBindsTo=@app@\n" + SLEEPER, ["start", "@first.service@"]),
    ("Upholds= of another", "first.service", "[Unit]\nUpholds=@app@\n" + SLEEPER, ["start", "@first.service@"]),
    ("a target", "first.target", "[Unit]\nWants=@app@\n", ["start", "@first.target@"]),
    ("OnFailure= of another", "first.service", "[Unit]\nOnFailure=@app@\n" + shell("exit 1", "Type=oneshot"), ["start", "@first.service@"]),
    ("OnSuccess= of another", "first.service", "[Unit]\nOnSuccess=@app@\n" + shell("exit 0", "Type=oneshot"), ["start", "@first.service@"]),
    ("an operator", "first.service", SLEEPER, ["start", "@app@"]),
    ("an operator's restart", "first.service", SLEEPER, ["restart", "@app@"]),
]


@pytest.mark.parametrize(("how", "other", "text", "told"), BY_ITSELF, ids=[row[0] for row in BY_ITSELF])
async def test_what_systemd_starts_by_itself_has_no_launch_until_a_start_takes_it_over(
    ground: Ground, how: str, other: str, text: str, told: Sequence[str]
) -> None:
    (app,) = await ground.load(app=SLEEPER)
    stem = ground.name("first.").removesuffix(".")
    unit = ground.name(other)
    await ground.runtime.load([(unit, ground.fill(text))])
    await ground.runtime.start([(app, 1)])
    await ground.running(app)
    await ground.runtime.stop([app])
    await ground.ended(app)
    await systemctl(*(word.replace("@app@", app).replace(f"@{other}@", unit) for word in told))
    seen = await ground.running(app)
    assert (seen.launch, len(seen.invocation)) == (0, 32), f"{how} of {stem}"
    await ground.runtime.close()
    ground.runtime = await ground.connect()
    assert await ground.running(app) == seen, "also for the next agent"
    await ground.runtime.start([(app, 2)])
    taken = await ground.until(app, lambda seen: seen.launch == 2 and is_running(seen), "taken over")
    assert (taken.pid, taken.invocation) == (seen.pid, seen.invocation)
    await ground.runtime.stop([unit])  # what would start it again
    await ground.runtime.stop([app])
    assert (await ground.ended(app)).launch == 0


async def test_a_socket_starts_its_service_without_a_launch(ground: Ground) -> None:
    (app,) = await ground.load(app=SLEEPER)
    door = ground.name("app.socket")
    path = ground.scratch / "door"
    await ground.runtime.load([(door, f"[Socket]\nListenStream={path}\n")])
    await ground.runtime.start([(door, 1)])
    await ground.until(door, lambda seen: seen.active == "active", "listening")
    _, writer = await asyncio.open_unix_connection(str(path))
    writer.close()
    assert (await ground.running(app)).launch == 0


async def test_conditions_that_do_not_hold_leave_a_launch_without_an_invocation(ground: Ground) -> None:
    text = "[Unit]\nConditionPathExists=@dir@/there\n" + SLEEPER
    name = await ground.run(text)
    seen = await ground.ended(name)
    assert (seen.active, seen.launch, seen.invocation, seen.code, seen.result) == ("inactive", 1, "", None, "success")
    (ground.scratch / "there").touch()
    await ground.runtime.start([(name, 2)])
    ran = await ground.running(name)
    await ground.runtime.stop([name])
    await ground.ended(name)
    (ground.scratch / "there").unlink()
    await ground.runtime.start([(name, 3)])
    again = await ground.until(name, lambda seen: seen.launch == 3 and seen.active == "inactive", "not run")
    assert (again.invocation, again.code, again.result) == ("", None, "success")
    assert ran.invocation


async def test_a_start_that_waits_is_known_to_the_next_agent(ground: Ground) -> None:
    slow = shell("until test -e @dir@/go; do sleep 0.02; done", "Type=oneshot")
    app, late = await ground.load(app=slow, first=shell("exec sleep 1000", "After=@app@"))
    await ground.runtime.start([(app, 1), (late, 1)])
    await ground.until(app, lambda seen: seen.active == "activating", "activating")
    await ground.runtime.close()
    ground.runtime = await ground.connect()
    seen = await ground.see(late)
    assert (seen.active, seen.launch, seen.code, seen.invocation) == ("activating", 1, None, "")
    (ground.scratch / "go").touch()
    assert (await ground.running(late)).launch == 1


async def test_what_systemd_refuses_to_stop_keeps_its_launch(ground: Ground) -> None:
    name = await ground.run("[Unit]\nRefuseManualStop=yes\n" + SLEEPER, launch=4)
    await ground.running(name)
    with pytest.raises(RuntimeFailed) as caught:
        await ground.runtime.stop([name])
    assert set(caught.value.refused) == {name}
    seen = await ground.running(name)
    assert seen.launch == 4
    await ground.load(app=SLEEPER)


async def test_what_is_unloaded_leaves_no_trace(ground: Ground) -> None:
    app, kick = await ground.load(app=SLEEPER, first="[Unit]\nBindsTo=@app@\nAfter=@app@\n" + SLEEPER)
    await ground.runtime.start([(app, 1), (kick, 1)])
    await ground.running(kick)
    assert (SYSTEM_LINKS / app).is_symlink()
    await ground.runtime.unload([app])
    assert not (SYSTEM_LINKS / app).is_symlink()
    assert await systemctl("show", "-P", "LoadState", app) == "not-found", "though another unit refers to it"
    await ground.runtime.unload([kick])
    assert await systemctl("show", "-P", "LoadState", kick) == "not-found"
    assert not list(SYSTEM_LINKS.glob(f"{ground.prefix}*"))


async def test_units_with_an_install_section_are_enabled_until_they_are_unloaded(ground: Ground) -> None:
    (name,) = await ground.load(app=SLEEPER + "[Install]\nWantedBy=multi-user.target\n")
    link = SYSTEM_LINKS / "multi-user.target.wants" / name
    assert link.is_symlink()
    assert await systemctl("is-enabled", name) == "enabled-runtime"
    await ground.runtime.start([(name, 1)])
    await ground.running(name)
    await ground.runtime.unload([name])
    assert not link.is_symlink()


async def test_new_units_need_no_reload_of_the_manager(ground: Ground) -> None:
    before = await systemctl("show", "-P", "GeneratorsStartTimestampMonotonic")
    names = await ground.load(**{f"unit{number}": SLEEPER for number in range(10)})
    await ground.runtime.start([(name, 1) for name in names])
    for name in names:
        await ground.running(name)
    await ground.runtime.unload(names)
    assert await systemctl("show", "-P", "GeneratorsStartTimestampMonotonic") == before


@pytest.mark.parametrize("how", [("daemon-reload",), ("daemon-reexec",), ("restart", "dbus.service")], ids=" ".join)
async def test_nothing_is_lost_when_systemd_or_its_bus_begin_anew(ground: Ground, how: tuple[str, ...]) -> None:
    names = await ground.load(app=SLEEPER, first=shell("exit 0", "Type=oneshot"), second=SLEEPER)
    await ground.runtime.start([(names[0], 7), (names[1], 8)])
    await ground.running(names[0])
    await ground.ended(names[1])
    before = await ground.runtime.units()
    changes = ground.runtime.changes()
    await anext(changes)
    await systemctl(*how)
    if how[0] != "daemon-reexec":
        await close(changes)
    else:
        await lost(changes)
    await again(ground.runtime)
    assert {name: (seen.pid, seen.launch, seen.active, seen.code) for name, seen in (await ground.runtime.units()).items()} == {
        name: (seen.pid, seen.launch, seen.active, seen.code) for name, seen in before.items()
    }
    changes = ground.runtime.changes()
    async with asyncio.timeout(DEADLINE):
        await anext(changes)
        await ground.runtime.start([(names[2], 1)])
        while not is_running(await ground.see(names[2])):
            await anext(changes)
    await close(changes)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    folder = system_folder()
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def test_a_full_disk_harms_nothing_that_runs_and_is_named(tmp_path: Path, small_disk: Path) -> None:
    async with on_ground(lambda: SystemdRuntime.connect("system", small_disk), tmp_path) as ground:
        name = await ground.run(SLEEPER)
        pid = (await ground.running(name)).pid
        with contextlib.suppress(OSError):
            (small_disk / ".fill").write_bytes(b"x" * 2**20)
        other = ground.name("other")
        with pytest.raises(RuntimeFailed) as caught:
            await ground.runtime.load([(other, SLEEPER)])
        assert "No space left on device" in caught.value.refused[other]
        with pytest.raises(RuntimeFailed) as caught:
            await ground.runtime.start([(name, 2)])
        assert "disk full" in caught.value.refused[name]
        seen = await ground.running(name)
        assert (seen.pid, seen.launch) == (pid, 1)
        assert alive(pid)
        (small_disk / ".fill").unlink()
        await ground.runtime.load([(other, SLEEPER)])
        await ground.runtime.start([(name, 2), (other, 1)])
        await ground.running(other)
        await ground.until(name, lambda seen: is_running(seen) and seen.pid != pid, "restarted")


async def test_without_a_systemd_the_error_says_so(tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailed, match=r"systemd does not answer at .*: No such file"):
        await SystemdRuntime.connect("user", tmp_path / "units", tmp_path / "none")


MANY = 700
"""More than a dbus-daemon allows a connection match rules (512), of which systemd takes one for each unit that it holds for a client."""


@pytest.mark.timeout(180)
async def test_more_units_than_the_bus_has_rules_for_are_loaded_run_stopped_and_found_again(ground: Ground) -> None:
    names = [f"{ground.prefix}-{number}.service" for number in range(MANY)]
    await ground.runtime.load([(name, shell("exit 0", "Type=oneshot", "RemainAfterExit=yes")) for name in names[:480]])
    await ground.runtime.load([(name, shell("exit 0", "Type=oneshot", "RemainAfterExit=yes")) for name in names[480:]])
    await ground.runtime.start([(name, 1) for name in names])
    await all_become(ground.runtime, names, "active")
    said = await asyncio.create_subprocess_exec(
        *("busctl", "get-property", "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "Version"),
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert await said.wait() == 0, "systemd is on the bus, too"
    again = await ground.connect()
    assert {name: seen.launch for name, seen in (await again.units(names)).items()} == dict.fromkeys(names, 1)
    await all_become(again, names, "active")
    await again.close()
    await ground.runtime.stop(names)
    await all_become(ground.runtime, names, "inactive")
    await ground.runtime.unload(names)
    assert not await ground.runtime.units(names)


async def all_become(runtime: Runtime, names: list[str], active: str) -> None:
    changes = runtime.changes()
    async with asyncio.timeout(60):
        waiting = set(names)
        while waiting:
            changed = waiting & await anext(changes)
            waiting -= {name for name, seen in (await runtime.units(changed)).items() if seen.active == active}
    await close(changes)


async def test_a_start_beside_many_units_writes_reads_and_tells_no_more_than_alone(ground: Ground) -> None:
    crowd = [f"{ground.prefix}-{number}.service" for number in range(MANY)]
    await ground.runtime.load([(name, SLEEPER) for name in crowd])
    changes = ground.runtime.changes()
    await anext(changes)
    name = await ground.run(SLEEPER)
    told: set[str] = set()
    async with asyncio.timeout(DEADLINE):
        while not is_running((await ground.runtime.units([name]))[name]):
            told |= await anext(changes)
    await close(changes)
    assert told <= {name}
    assert list(await ground.runtime.units([name, "unknown.service"])) == [name]
