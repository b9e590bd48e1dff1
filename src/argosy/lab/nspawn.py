"""Full machines: systemd-nspawn over an overlay of the host's root, with systemd, Docker, a network and control groups of their own.

The host need not run systemd itself. In the lab's folder, which is a file system in memory:

    switch              the network namespace of the lab's switch (see network.py)
    hosts               /etc/hosts of all machines
    <machine>/netns     the machine's network namespace, a new one for every boot
    <machine>/upper     what it has written (its disk); work and root belong to the overlay
    <machine>/docker    its /var/lib/docker
    <machine>/run       its /run/argosy
    <machine>/console   what it said while booting
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from argosy.errors import RuntimeFailed
from argosy.lab import cgroups, disk, network, processes
from argosy.lab.base import Command, Power, Process, host, run, to_the_end
from argosy.lab.etc import machine_files
from argosy.lab.front import PLACE
from argosy.lab.state import MARK, LabRecord
from argosy.programs import PATH

BOOT_DEADLINE = 60.0
UNSEEN = 1.0
"""Seconds without any process of a machine after which it has ended: one that just begins cannot be told by its environment yet."""
UNMOUNT_PATIENCE = 1.0
LOG_PATIENCE = 10.0
NSPAWN_RUN = Path("/run/systemd/nspawn")

JOIN_AND_RUN = 'while [ "$1" != -- ]; do echo $$ >"$1" || exit 71; shift; done; shift; exec "$@"'
"""A shell that joins control groups (the files before --) and becomes the command after it."""


class NspawnDriver:
    kind = "nspawn"

    def addresses(self, number: int, machine: int) -> tuple[str, str]:
        address = network.address(number, machine)
        return address, f"{address}:80"

    async def numbers_taken(self) -> frozenset[int]:
        def look() -> frozenset[int]:
            return network.numbers_in_use(os.listdir("/sys/class/net"), Path("/proc/net/route").read_text())

        beyond = frozenset(range(network.NUMBERS, 256))
        return await asyncio.to_thread(look) | beyond

    async def prepare(self, lab: LabRecord) -> None:
        await host("mount", "-t", "tmpfs", "-o", "mode=0700", "argosy-lab", lab.folder)
        names = "".join(f"{network.address(lab.number, number)} m{number}\n" for number in range(1, network.HOST))
        await asyncio.to_thread((Path(lab.folder) / "hosts").write_text, f"127.0.0.1 localhost\n::1 localhost\n{names}")
        await _new_namespace(_switch(lab))
        await self._cable_side(lab, 0)

    async def create(self, lab: LabRecord, name: str) -> None:
        await to_the_end(_make_disk, lab, name)
        place = lab.place(name)
        options = f"lowerdir=/,upperdir={place}/upper,workdir={place}/work"
        await host("mount", "-t", "overlay", "-o", options, "argosy-lab", str(place / "root"))

    async def start(self, lab: LabRecord, name: str) -> None:
        if await self.power(lab, name) is not Power.OFF:
            return
        place = lab.place(name)
        await self._unplug(lab, name)
        await to_the_end(_empty, place / "run")
        await _new_namespace(place / "netns")
        in_switch, in_machine = network.cable_to_machine(lab, name, str(_switch(lab)), str(place / "netns"))
        await _ip(in_switch, _switch(lab))
        await _ip(in_machine, place / "netns")
        joins = await to_the_end(cgroups.create, _group(lab, name))
        environ = {"PATH": PATH, MARK: lab.mark(name), "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network", "SYSTEMD_NSPAWN_LOCK": "0"}
        log = f'exec </dev/null >"{place}/console" 2>&1; {JOIN_AND_RUN}'
        argv = ("setsid", "--fork", "sh", "-c", log, "sh", *map(str, joins), "--", *await asyncio.to_thread(_nspawn, lab, name))
        await host(*argv, environ=environ)
        await _await_boot(lab, name)

    async def kill(self, lab: LabRecord, name: str) -> None:
        if await asyncio.to_thread(_has_cable, lab, name):
            await _ip([f"link set {name} down"], _switch(lab))
        await asyncio.to_thread(_cut, lab, name)
        await self._unplug(lab, name)

    async def pause(self, lab: LabRecord, name: str) -> None:
        await asyncio.to_thread(_freeze, lab, name, True)

    async def resume(self, lab: LabRecord, name: str) -> None:
        await asyncio.to_thread(_freeze, lab, name, False)

    async def power(self, lab: LabRecord, name: str) -> Power:
        return await asyncio.to_thread(_power, lab, name)

    async def command(self, lab: LabRecord, name: str, argv: Sequence[str]) -> Command:
        def build() -> Command:
            leader = _leader(lab, name)
            if leader is None:
                raise RuntimeFailed(f"{name} is off", remedy=f"argosy lab start {name} --name {lab.name}")
            joins = map(str, cgroups.guest(_group(lab, name)))
            environ = {
                "PATH": PATH,
                "HOME": "/root",
                "LANG": "C.UTF-8",
                "TERM": os.environ.get("TERM", "dumb"),
                "ARGOSY_PATHS_STATE": "/var/lib/argosy",
                "ARGOSY_PATHS_RUN": "/run/argosy",
                MARK: lab.mark(name),
            }
            enter = ("nsenter", f"--target={leader.pid}", "--all", "--")
            return Command(("sh", "-c", JOIN_AND_RUN, "sh", *joins, "--", *enter, *argv), environ)

        return await asyncio.to_thread(build)

    async def processes(self, lab: LabRecord, name: str) -> tuple[Process, ...]:
        def look() -> tuple[Process, ...]:
            seen = processes.scan()
            inside = [process.pid for process in seen.values() if process.nested and process.mark == lab.mark(name)]
            return processes.describe(processes.descendants(inside, seen))

        return await asyncio.to_thread(look)

    async def log(self, lab: LabRecord, name: str, last: int) -> str:
        if await self.power(lab, name) is not Power.ON:
            return ""
        asking = await self.command(lab, name, ["journalctl", "--unit=argosy", f"--lines={last}", "--output=cat", "--no-pager", "--quiet"])
        return (await run(asking, timeout=LOG_PATIENCE)).stdout.strip()

    async def connect(self, lab: LabRecord) -> None:
        wanted = max(1, len(lab.groups))
        links = await asyncio.to_thread(os.listdir, "/sys/class/net")
        sides = {side for side in range(network.NUMBERS) if network.link(lab.number, side) in links}
        for side in sorted(set(range(wanted)) - sides):
            await self._cable_side(lab, side)
        running = [machine.name for machine in lab.machines if await asyncio.to_thread(_has_cable, lab, machine.name)]
        await _ip(network.plugs(lab, running), _switch(lab))
        await _ip(network.routes(lab))
        for side in sorted(sides - set(range(wanted))):
            await _ip([f"link delete {network.link(lab.number, side)}"])
            await _ip([f"link delete side{side}"], _switch(lab))

    async def remove(self, lab: LabRecord, name: str) -> None:
        await self.kill(lab, name)
        await _unmount(str(lab.place(name)))
        await asyncio.to_thread(shutil.rmtree, lab.place(name), ignore_errors=True)

    async def clear(self, folder: str) -> None:
        await asyncio.to_thread(_cut_all, folder)
        links = [name for name in await asyncio.to_thread(os.listdir, "/sys/class/net") if await asyncio.to_thread(_alias, name) == folder]
        await _ip([f"link delete {name}" for name in links])
        await _unmount(folder)
        await asyncio.to_thread(cgroups.remove, Path(folder).name)
        await _tidy(f"{Path(folder).name}-m[0-9]+")
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _cable_side(self, lab: LabRecord, side: int) -> None:
        on_host, in_switch = network.cable_to_host(lab.number, side, str(_switch(lab)))
        await _ip([*on_host, f"link set {network.link(lab.number, side)} alias {lab.folder}"])
        await _ip(in_switch, _switch(lab))

    async def _unplug(self, lab: LabRecord, name: str) -> None:
        """What a machine that is off leaves behind: its cable, its network namespace, its control groups."""
        if await asyncio.to_thread(_has_cable, lab, name):
            await _ip([f"link delete {name}"], _switch(lab))
        await _unmount(str(lab.place(name) / "netns"))
        await asyncio.to_thread(cgroups.remove, _group(lab, name))
        await _tidy(f"{lab.name}-{name}")


def _nspawn(lab: LabRecord, name: str) -> list[str]:
    place = lab.place(name)
    return [
        "systemd-nspawn",
        "--boot",
        f"--directory={place}/root",
        f"--machine={lab.name}-{name}",
        f"--uuid={lab.machine(name).id}",
        f"--network-namespace-path={place}/netns",
        "--capability=all",
        "--system-call-filter=@keyring bpf",
        "--register=no",
        "--keep-unit",
        "--link-journal=no",
        "--resolv-conf=off",
        "--timezone=off",
        "--console=read-only",
        f"--bind={place}/docker:/var/lib/docker",
        f"--bind={place}/run:/run/argosy",
        f"--bind-ro={lab.folder}/hosts:/etc/hosts",
        f"--setenv={MARK}={lab.mark(name)}",
        *(f"--bind-ro={path}" for path in disk.needed_from_host()),
        *(f"--bind={folder}" for folder in lab.binds),
    ]


def _make_disk(lab: LabRecord, name: str) -> None:
    place = lab.place(name)
    for folder in ("upper", "work", "root", "run", "docker"):
        (place / folder).mkdir(parents=True)
    layer = disk.Layer(place / "upper")
    layer.hide(disk.HIDDEN)
    files, secrets, links = machine_files(lab, name)
    layer.write(files)
    layer.write(secrets, mode=0o600)
    layer.link(links)


async def _await_boot(lab: LabRecord, name: str) -> None:
    """Until its systemd takes orders. Raises RuntimeFailed with what the console says when it never does."""
    seen = time.monotonic()
    end = seen + BOOT_DEADLINE
    while not await asyncio.to_thread(_takes_orders, lab, name):
        if await asyncio.to_thread(lambda: processes.below(lab.mark(name), processes.scan())):
            seen = time.monotonic()
        if time.monotonic() > min(end, seen + UNSEEN):
            said = await asyncio.to_thread(_console, lab, name)
            raise RuntimeFailed(f"{name} does not boot: {said or 'its console is silent'}", remedy="try argosy lab up --light")
        await asyncio.sleep(0.01)


def _console(lab: LabRecord, name: str) -> str:
    try:
        return (lab.place(name) / "console").read_text(errors="replace")[-2000:].strip()
    except OSError:
        return ""


def _takes_orders(lab: LabRecord, name: str) -> bool:
    leader = _leader(lab, name)
    if leader is None:
        return False
    inside = Path(f"/proc/{leader.pid}/root")
    try:
        # Before it has changed its root, it shows the host's files.
        return (inside / "etc/machine-id").read_text().strip() == lab.machine(name).id and (inside / "run/systemd/private").exists()
    except OSError:
        return False


def _leader(lab: LabRecord, name: str) -> processes.Seen | None:
    """The machine's first process."""
    for process in processes.scan().values():
        if process.init and process.alive and process.mark == lab.mark(name):
            return process
    return None


def _power(lab: LabRecord, name: str) -> Power:
    leader = _leader(lab, name)
    if leader is None:
        return Power.OFF
    return Power.PAUSED if leader.state in "Tt" or cgroups.is_frozen(_group(lab, name)) else Power.ON


def _freeze(lab: LabRecord, name: str, frozen: bool) -> None:
    if _leader(lab, name) is None:
        raise RuntimeFailed(f"{name} is off", remedy=f"argosy lab start {name} --name {lab.name}")
    if cgroups.freeze(_group(lab, name), frozen):
        return
    if frozen:
        processes.freeze(lab.mark(name))
    else:
        processes.thaw(lab.mark(name))


def _cut(lab: LabRecord, name: str) -> None:
    """SIGKILL to the first process takes everything in its PID namespace along, and it has ended when all of that has."""
    leader = _leader(lab, name)
    if leader is not None:
        os.kill(leader.pid, signal.SIGKILL)
        cgroups.freeze(_group(lab, name), False)  # what is frozen does not die
    _await_end(lab.mark(name), [leader] if leader is not None else [])


def _cut_all(folder: str) -> None:
    leaders = [process for process in processes.scan().values() if process.init and process.alive and process.mark.startswith(folder + "/")]
    for leader in leaders:
        os.kill(leader.pid, signal.SIGKILL)
        cgroups.freeze(f"{Path(folder).name}/{Path(leader.mark).name}", False)
    processes.kill(f"{folder}/{PLACE}")
    _await_end(folder, leaders)


def _await_end(mark: str, leaders: Sequence[processes.Seen]) -> None:
    """systemd-nspawn leaves when its machine has ended; what does not is killed."""
    end = time.monotonic() + 0.5
    while processes.below(mark, processes.scan()) and time.monotonic() < end:
        time.sleep(0.005)
    processes.kill(mark, leaders)


def _has_cable(lab: LabRecord, name: str) -> bool:
    return os.path.ismount(lab.place(name) / "netns")


def _alias(link: str) -> str:
    try:
        return Path(f"/sys/class/net/{link}/ifalias").read_text().strip()
    except OSError:
        return ""


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _group(lab: LabRecord, name: str) -> str:
    return f"{Path(lab.folder).name}/{name}"


def _switch(lab: LabRecord) -> Path:
    return Path(lab.folder) / "switch"


async def _new_namespace(path: Path) -> None:
    await asyncio.to_thread(path.touch)
    await host("unshare", f"--net={path}", "true")


async def _ip(commands: Sequence[str], space: Path | None = None) -> None:
    """`ip netns exec` would hide the control groups of /sys: nsenter does not."""
    if commands:
        enter = ("nsenter", f"--net={space}") if space is not None else ()
        await host(*enter, "ip", "-batch", "-", stdin="".join(f"{command}\n" for command in commands))


async def _tidy(machines: str) -> None:
    """What systemd-nspawn keeps for machines of these names (a regular expression), and leaves behind when it is killed."""

    def found() -> list[Path]:
        return [path for path in NSPAWN_RUN.glob("*/*") if re.fullmatch(machines, path.name)]

    for path in await asyncio.to_thread(found):
        await _unmount(str(path))
        with suppress(OSError):
            await asyncio.to_thread(path.rmdir)


async def _unmount(place: str) -> None:
    """Everything mounted at or below a place, the deepest first."""

    def mounted() -> list[str]:
        found = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        return [path for path in reversed(found) if path == place or path.startswith(place + "/")]

    for path in await asyncio.to_thread(mounted):
        await _unmount_one(path)


async def _unmount_one(path: str) -> None:
    """What somebody still looks into (a shell that stands there) is taken out of sight, and ends with its last user."""
    end = time.monotonic() + UNMOUNT_PATIENCE
    while time.monotonic() < end:
        try:
            await host("umount", path)
        except RuntimeFailed:
            await asyncio.sleep(0.05)
        else:
            return
    await host("umount", "--lazy", path)
