"""What this machine is: its id, its address, what it is made of. All of it blocks for a moment: call it in a thread."""

from __future__ import annotations

import os
import platform
import re
import socket
import uuid
from pathlib import Path

import psutil

from argosy import files
from argosy.errors import InvalidInput, Unsuitable
from argosy.model import Facts

MACHINE_ID = Path("/etc/machine-id")
_ID = re.compile(r"[0-9a-f]{32}")


def machine_id(configured: str, state: Path, etc: Path = MACHINE_ID) -> str:
    """32 lower-case hexadecimal digits: the configured id, or the one made earlier in the `state` folder, or the host's, or a new one that
    is kept in the `state` folder. Raises InvalidInput for a configured id of another form, Unsuitable if a new one cannot be kept."""
    if configured:
        if not _ID.fullmatch(configured):
            raise InvalidInput(f"[machine] id is {configured!r}", remedy="give 32 lower-case hexadecimal digits, or nothing")
        return configured
    kept = state / "machine-id"
    for path in (kept, etc):
        found = _read(path)
        if _ID.fullmatch(found) and found != "0" * 32:
            return found
    made = uuid.uuid4().hex
    try:
        state.mkdir(parents=True, exist_ok=True)
        files.write(kept, f"{made}\n".encode(), durable=True)
    except OSError as error:
        raise Unsuitable(f"cannot keep a machine id in {state}: {error.strerror}", remedy="set [machine] id") from error
    return made


def default_address() -> str:
    """The address that packets to the outside leave from; of a host without a default route, the loopback's. Nothing is sent."""
    for family, outside in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((outside, 9))
                return str(probe.getsockname()[0])
        except OSError:
            continue
    return "127.0.0.1"


def gather(folder: Path) -> Facts:
    """The facts as they are now; the disk is the one that holds `folder`. What the host does not tell is 0 or ""."""
    memory = psutil.virtual_memory()
    try:
        disk = psutil.disk_usage(str(folder))
        disk_total, disk_free = disk.total, disk.free
    except OSError:
        disk_total = disk_free = 0
    return Facts(
        cores=psutil.cpu_count() or 0,
        memory=memory.total,
        memory_available=memory.available,
        disk=disk_total,
        disk_free=disk_free,
        load=round(os.getloadavg()[0], 2),
        kernel=platform.release(),
        os=_os(),
    )


def notably_different(old: Facts, new: Facts) -> bool:
    """Whether the difference is worth telling the cluster: anything that rarely changes, or a twentieth of the memory or disk, or a load
    that moved by half a core or a fifth."""
    fixed = ("cores", "memory", "disk", "kernel", "os")
    return (
        any(getattr(old, name) != getattr(new, name) for name in fixed)
        or abs(old.memory_available - new.memory_available) > new.memory / 20
        or abs(old.disk_free - new.disk_free) > new.disk / 20
        or abs(old.load - new.load) > max(0.5, old.load / 5)
    )


def _os() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return platform.system()


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
