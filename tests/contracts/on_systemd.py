"""The Runtime contract on a real systemd, and what only systemd can do: to be run inside a machine that was booted with one, as root.

tests/lab/test_systemd.py does that; by itself this file is not collected, for there is no systemd to be had outside such a machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
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
def user_bus() -> str:
    """The address of the bus of root's own systemd, which is started for it."""
    subprocess.run(["systemctl", "start", f"user@{os.getuid()}.service"], check=True, timeout=30)
    return f"unix:path=/run/user/{os.getuid()}/bus"


class TestAUsersManager(RuntimeContract):
    @pytest.fixture
    async def ground(self, tmp_path: Path, user_bus: str) -> AsyncIterator[Ground]:
        folder = Path(f"/run/user/{os.getuid()}/argosy-test/{uuid.uuid4().hex}")
        async with on_ground(lambda: SystemdRuntime.connect("user", folder, address=user_bus), tmp_path) as ground:
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
    if how[0] == "daemon-reload":
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
    with pytest.raises(RuntimeFailed, match="systemd does not answer over D-Bus"):
        await SystemdRuntime.connect("user", tmp_path / "units", address=f"unix:path={tmp_path}/none")
