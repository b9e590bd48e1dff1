"""Process machines: each is a group of processes on a loopback address of its own, with the supervisor for a systemd and one SQLite
file for all. No root, no namespaces: they run wherever Python does. In the lab's folder:

    store.sqlite             the store
    <machine>/store.sqlite   a link to it; cutting a machine off turns the link into one that leads nowhere
    <machine>/state, run     kept over a power cut, and not
    <machine>/log            what its agent says

What is not true of them: they share the host's files and ports of other addresses, and a partition cuts them off the store only.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from argosy import install
from argosy.config import (
    ApiSection,
    Config,
    KeysSection,
    MachineSection,
    PathsSection,
    RouterSection,
    RuntimeSection,
    StoreSection,
    TlsSection,
    changed,
)
from argosy.errors import RuntimeFailed
from argosy.lab import init, processes
from argosy.lab.base import Command, Power, Process, host, to_the_end
from argosy.lab.state import MARK, LabRecord, MachineRecord, load, names
from argosy.lab.trust import pems, write_secret

ROUTER_PORT = 8081
TLS_PORT = 8443
DOOR_PORT = 8700
PLAIN_PORT = 8701
KEYS_PORT = 4001
STORE = "store.sqlite"
NOWHERE = "cut-off/store.sqlite"
"""Where a cut-off machine's link leads: into a folder that does not exist, so that no store can be made there either."""

MAX_SOCKET_PATH = 107


class ProcessDriver:
    kind = "process"

    def addresses(self, number: int, machine: int) -> tuple[str, str]:
        address = f"127.0.{number}.{machine}"
        return address, f"{address}:{ROUTER_PORT}"

    async def numbers_taken(self) -> frozenset[int]:
        return await asyncio.to_thread(_numbers_taken) | {0}

    async def prepare(self, lab: LabRecord) -> None:
        longest = lab.place(f"m{'9' * 3}") / "run" / "supervisor" / "supervisor.sock"
        if len(str(longest)) > MAX_SOCKET_PATH:
            raise RuntimeFailed(f"{lab.folder} is too long a path for sockets in it", remedy="set XDG_STATE_HOME to a shorter one")
        await asyncio.to_thread((Path(lab.folder) / STORE).touch, 0o600)

    async def create(self, lab: LabRecord, name: str) -> None:
        await to_the_end(_make, lab, name)

    async def start(self, lab: LabRecord, name: str) -> None:
        if await self.power(lab, name) is not Power.OFF:
            return
        place = lab.place(name)
        await to_the_end(_fresh_run, place)
        address = lab.machine(name).address
        log = f'exec </dev/null >>"{place}/log" 2>&1; exec "$@"'
        agent = (install.program(), "agent", "--config", str(place / "argosy.toml"))
        await host(
            "setsid", "--fork", "sh", "-c", log, "sh", sys.executable, "-S", init.__file__, address, *agent, environ=_environ(lab, name)
        )
        for _ in range(1000):
            if await self.power(lab, name) is not Power.OFF:
                return
            await asyncio.sleep(0.005)
        raise RuntimeFailed(f"{name} does not start", remedy=f"see {place / 'log'}")

    async def kill(self, lab: LabRecord, name: str) -> None:
        await asyncio.to_thread(processes.kill, lab.mark(name))

    async def pause(self, lab: LabRecord, name: str) -> None:
        await self._running(lab, name)
        await asyncio.to_thread(processes.freeze, lab.mark(name))

    async def resume(self, lab: LabRecord, name: str) -> None:
        await self._running(lab, name)
        await asyncio.to_thread(processes.thaw, lab.mark(name))

    async def power(self, lab: LabRecord, name: str) -> Power:
        def look() -> Power:
            seen = processes.scan()
            own = processes.below(lab.mark(name), seen)
            if not own:
                return Power.OFF
            return Power.PAUSED if all(seen[pid].state in "Tt" for pid in own) else Power.ON

        return await asyncio.to_thread(look)

    async def command(self, lab: LabRecord, name: str, argv: Sequence[str]) -> Command:
        await self._running(lab, name)
        return Command(tuple(argv), _environ(lab, name), folder=str(lab.place(name)))

    async def processes(self, lab: LabRecord, name: str) -> tuple[Process, ...]:
        return await asyncio.to_thread(lambda: processes.describe(processes.below(lab.mark(name), processes.scan())))

    async def log(self, lab: LabRecord, name: str, last: int) -> str:
        def read() -> str:
            return "\n".join((lab.place(name) / "log").read_text(errors="replace").splitlines()[-last:])

        return "" if await self.power(lab, name) is Power.OFF else await asyncio.to_thread(read)

    async def connect(self, lab: LabRecord) -> None:
        await to_the_end(_connect, lab)

    async def remove(self, lab: LabRecord, name: str) -> None:
        await self.kill(lab, name)
        await asyncio.to_thread(shutil.rmtree, lab.place(name), ignore_errors=True)

    async def clear(self, folder: str) -> None:
        await asyncio.to_thread(processes.kill, folder)
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _running(self, lab: LabRecord, name: str) -> None:
        if await self.power(lab, name) is Power.OFF:
            raise RuntimeFailed(f"{name} is off", remedy=f"argosy lab start {name} --name {lab.name}")


def config(lab: LabRecord, machine: MachineRecord) -> Config:
    """What the operator of such a machine would have written. Every port is on the machine's own loopback address."""
    place, address = lab.place(machine.name), machine.address
    usual = Config(
        machine=MachineSection(id=machine.id, name=machine.name, address=address, metadata=machine.metadata, ttl=lab.ttl),
        paths=PathsSection(state=str(place / "state"), run=str(place / "run")),
        store=StoreSection(url=f"sqlite:{place / STORE}"),
        tls=TlsSection(ca=str(place / "tls/ca.pem"), cert=str(place / "tls/machine.pem"), key=str(place / "tls/machine.key")),
        runtime=RuntimeSection(kind="supervisor", environment=own_environment(lab, machine)),
        api=ApiSection(listen=(f"{address}:{PLAIN_PORT}",), door=f"{address}:{DOOR_PORT}", exec=True),
        keys=KeysSection(listen=(f"{address}:{KEYS_PORT}",)),
        router=RouterSection(listen=(machine.router,), trusted=("127.0.0.1",)),
    )
    if lab.settings.get("router.certificates"):
        router = msgspec.structs.replace(usual.router, tls_listen=(f"{address}:{TLS_PORT}",))
        usual = msgspec.structs.replace(usual, router=router)
    return changed(usual, lab.settings)


def own_environment(lab: LabRecord, machine: MachineRecord) -> dict[str, str]:
    """What a full machine has in /etc/environment, in its PATH and on its default ports, a process machine has in its environment."""
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
        MARK: lab.mark(machine.name),
        "COREOS_PRIVATE_IPV4": machine.address,
        "COREOS_PUBLIC_IPV4": machine.address,
        "ARGOSY_ENDPOINT": f"unix://{lab.socket(machine.name)}",
        "ETCDCTL_API": "2",
        "ETCDCTL_ENDPOINTS": f"http://{machine.address}:{KEYS_PORT}",
    }


def _environ(lab: LabRecord, name: str) -> dict[str, str]:
    machine, place = lab.machine(name), lab.place(name)
    kept = {
        key: os.environ[key] for key in ("HOME", "USER", "LANG", "TERM", "TMPDIR", "XDG_STATE_HOME", "XDG_RUNTIME_DIR") if key in os.environ
    }
    paths = {"ARGOSY_PATHS_STATE": f"{place}/state", "ARGOSY_PATHS_RUN": f"{place}/run"}
    return kept | own_environment(lab, machine) | paths


def _make(lab: LabRecord, name: str) -> None:
    place = lab.place(name)
    for folder in ("state", "run", "tls"):
        (place / folder).mkdir(parents=True, mode=0o700)
    ca, cert, key = pems(lab, name)
    (place / "tls/ca.pem").write_bytes(ca)
    (place / "tls/machine.pem").write_bytes(cert)
    write_secret(place / "tls/machine.key", key)
    (place / "argosy.toml").write_text(install.config_file(config(lab, lab.machine(name))))
    _link(lab, name)


def _link(lab: LabRecord, name: str) -> None:
    """Leads to the store, unless the machine is on a side that has lost it: the store stays with more than half of the machines."""
    side = next((group for group in lab.groups if name in group), None)
    has_store = not lab.groups or (side is not None and 2 * len(side) > len(lab.machines))
    link, fresh = lab.place(name) / STORE, lab.place(name) / f"{STORE}.new"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(f"../{STORE}" if has_store else NOWHERE)
    fresh.replace(link)


def _connect(lab: LabRecord) -> None:
    for machine in lab.machines:
        _link(lab, machine.name)


def _fresh_run(place: Path) -> None:
    """A reboot forgets /run."""
    shutil.rmtree(place / "run", ignore_errors=True)
    (place / "run").mkdir(mode=0o700)


def _numbers_taken() -> frozenset[int]:
    """Labs of this user by their records, those of others by what listens: 127.0.<number>.<machine>."""
    taken = {load(name).number for name in names()}
    for table in ("/proc/net/tcp", "/proc/net/udp"):
        for line in Path(table).read_text().splitlines()[1:]:
            address = bytes.fromhex(line.split()[1].partition(":")[0])[::-1]
            if address[:2] == b"\x7f\x00":
                taken.add(address[2])
    return frozenset(taken)
