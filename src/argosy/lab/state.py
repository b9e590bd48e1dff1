"""What is kept about a lab between commands: one small JSON file per lab, in a place that every command finds.

As root a lab lives in /var/lib/argosy-lab/<name>, otherwise in $XDG_STATE_HOME/argosy-lab/<name>. The folder is the lab's identity:
every process of it carries `ARGOSY_LAB_MACHINE=<folder>/<machine>` in its environment. In it, whatever the driver:

    lab.json                       this file's LabRecord
    <machine>/run/argosy.sock      the machine's API socket, reachable from the host
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from argosy import files
from argosy.errors import InvalidInput, NotFound
from argosy.folders import lab_root
from argosy.lab import finding

MARK = "ARGOSY_LAB_MACHINE"
"""The variable by which a lab's processes are known: its value is the machine's folder."""

MACHINE = re.compile(r"m([1-9][0-9]{0,2})")
MAX_MACHINES = 200


class MachineRecord(msgspec.Struct, frozen=True):
    """One machine of a lab. `number` is the 3 of m3. `router` is the HOST:PORT where its router listens. `off`: its power was cut on
    purpose and it has not been started since."""

    name: str
    number: int
    id: str
    address: str
    router: str
    metadata: dict[str, str] = {}
    off: bool = False


class LabRecord(msgspec.Struct, frozen=True):
    """A lab. `kind` names the driver; `number` picks its addresses, so that several labs fit on a host; `groups` are the sides of a
    partition (() = the network is whole); `members` run the store; `entry` is HOST:PORT of the entry load balancer ("" = none), `entry_tls`
    where it takes TLS, if it does. `settings` ({"section.field": value}) change every agent's configuration; `binds` (HOST:INSIDE) are
    folders of the host that every full machine has. `complete` is False while it is being brought up: a record that stays so is of a lab
    that crashed."""

    name: str
    folder: str
    kind: str
    number: int
    ttl: float
    since: float
    members: tuple[str, ...] = ()
    machines: tuple[MachineRecord, ...] = ()
    groups: tuple[tuple[str, ...], ...] = ()
    entry: str = ""
    complete: bool = False
    settings: dict[str, str] = {}
    binds: tuple[str, ...] = ()
    entry_tls: str = ""

    def machine(self, name: str) -> MachineRecord:
        """Raises NotFound, naming the machines that there are."""
        for machine in self.machines:
            if machine.name == name:
                return machine
        raise NotFound(
            f"lab {self.name} has no machine {name!r}", remedy=f"it has {', '.join(machine.name for machine in self.machines) or 'none'}"
        )

    def place(self, name: str) -> Path:
        """A machine's folder on the host."""
        return Path(self.folder) / name

    def mark(self, name: str) -> str:
        return f"{self.folder}/{name}"

    def socket(self, name: str) -> Path:
        return self.place(name) / "run" / "argosy.sock"

    def with_machine(self, changed: MachineRecord) -> LabRecord:
        """This lab with one machine more, or one replaced."""
        others = [machine for machine in self.machines if machine.name != changed.name]
        return msgspec.structs.replace(self, machines=tuple(sorted([*others, changed], key=lambda machine: machine.number)))


def root(environ: Mapping[str, str] | None = None, uid: int | None = None) -> Path:
    """The folder that holds all labs of this user."""
    return Path(lab_root(os.environ if environ is None else environ, os.getuid() if uid is None else uid))


def load(name: str, base: Path | None = None) -> LabRecord:
    """The record of a lab that exists. Raises NotFound for one that does not, InvalidInput for a name or a file that is broken."""
    folder = str(base or root())
    data = finding.read(name, folder)
    try:
        return msgspec.json.decode(data, type=LabRecord)
    except msgspec.DecodeError as error:
        raise finding.broken(f"{folder}/{name}/lab.json", str(error), name) from error


def save(record: LabRecord) -> None:
    """Atomically: a reader sees the old record or the new one."""
    path = Path(record.folder) / "lab.json"
    files.write(path, msgspec.json.format(msgspec.json.encode(record), indent=2))


def names(base: Path | None = None) -> tuple[str, ...]:
    """All labs of this user that have a record, by name."""
    folder = base or root()
    try:
        return tuple(sorted(path.name for path in folder.iterdir() if (path / "lab.json").exists()))
    except OSError:
        return ()


def sides(machines: tuple[str, ...], groups: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
    """The groups of a partition, completed: machines that none names stay together, in one group more. Raises InvalidInput for a
    machine that does not exist or is named twice, and when nothing would be cut."""
    seen: set[str] = set()
    for name in (name for group in groups for name in group):
        if name not in machines:
            raise InvalidInput(f"there is no machine {name!r} to cut off", remedy=f"there are {', '.join(machines)}")
        if name in seen:
            raise InvalidInput(f"{name} cannot be on two sides of a partition", remedy="name each machine once")
        seen.add(name)
    rest = tuple(name for name in machines if name not in seen)
    complete = tuple(group for group in (*groups, rest) if group)
    if len(complete) < 2:
        raise InvalidInput("a partition has at least two sides", remedy="for example: m1 / m2,m3")
    return complete


def side_of(name: str, groups: tuple[tuple[str, ...], ...]) -> int:
    """Which group a machine is in; 0 while the network is whole, and for a machine that joined during a partition."""
    return next((index for index, group in enumerate(groups) if name in group), 0)
