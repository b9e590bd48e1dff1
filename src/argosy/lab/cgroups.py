"""Control groups of full machines: each machine has one of its own in every hierarchy, so that its systemd thinks it is alone.

Both layouts are understood: version 1 (one mount per controller) and version 2 (one tree). Everything here blocks shortly.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from argosy.errors import RuntimeFailed

TOP = "argosy-lab"
FREEZE_DEADLINE = 5.0


def hierarchies(mountinfo: str = "/proc/self/mountinfo") -> tuple[tuple[Path, ...], Path | None]:
    """(mount points of the version 1 hierarchies, mount point of the version 2 tree or None)."""
    old, new = [], None
    for line in Path(mountinfo).read_text().splitlines():
        head, _, tail = line.partition(" - ")
        kind, place = tail.split()[0], Path(head.split()[4])
        if kind == "cgroup":
            old.append(place)
        elif kind == "cgroup2":
            new = place
    return tuple(old), new


def fit_for_systemd() -> bool:
    """Whether there is a hierarchy in which systemd can keep track of its units: version 2, or the one of version 1 that it has named."""
    old, new = hierarchies()
    return new is not None or any(place.name == "systemd" for place in old)


def create(group: str) -> tuple[Path, ...]:
    """Makes the group (`<lab>/<machine>`) in every hierarchy; returns the files to which a process writes its pid to join."""
    old, new = hierarchies()
    joins = []
    for place in old:
        folder = place / TOP / group
        folder.mkdir(parents=True, exist_ok=True)
        _inherit_cpuset(place, f"{TOP}/{group}")
        joins.append(folder / "cgroup.procs")
    if new is not None:
        folder = new / TOP / group
        folder.mkdir(parents=True, exist_ok=True)
        if not old:
            _delegate(new, f"{TOP}/{group}")
        joins.append(folder / "cgroup.procs")
    return tuple(joins)


def guest(group: str) -> tuple[Path, ...]:
    """The files to join for a process that enters a running machine: it is paused with the machine, and in nobody's way there."""
    old, new = hierarchies()
    freezer = [place for place in old if _is_freezer(place)]
    if freezer:
        return (freezer[0] / TOP / group / "cgroup.procs",)
    if new is None:
        return ()
    folder = new / TOP / group / "guest"
    folder.mkdir(exist_ok=True)
    return (folder / "cgroup.procs",)


def freeze(group: str, frozen: bool) -> bool:
    """Freezes or thaws everything in the group, and waits until it is so; False if this host has no freezer."""
    control = _freezer(group)
    if control is None:
        return False
    _write(control.file, control.freeze if frozen else control.thaw)
    end = time.monotonic() + FREEZE_DEADLINE
    while is_frozen(group) != frozen:
        if time.monotonic() > end:
            raise RuntimeFailed(f"{control.file} does not {'freeze' if frozen else 'thaw'} its group within {FREEZE_DEADLINE:.0f} s")
        time.sleep(0.002)
    return True


def is_frozen(group: str) -> bool:
    control = _freezer(group)
    try:
        return control is not None and control.told in control.told_by.read_text().splitlines()
    except OSError:
        return False


def remove(group: str) -> None:
    """Removes the group and what its machine made below it, and the groups above it that are empty then. Its processes have ended."""
    old, new = hierarchies()
    end = time.monotonic() + FREEZE_DEADLINE
    for place in (*old, *((new,) if new is not None else ())):
        folder = place / TOP / group
        while folder.exists() and not _prune(folder):
            if time.monotonic() > end:
                raise RuntimeFailed(f"control group {folder} cannot be removed: something is still in it")
            time.sleep(0.01)
        for above in folder.parents:
            if above == place:
                break
            try:
                above.rmdir()
            except OSError:
                break


def _prune(folder: Path) -> bool:
    for path, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(path)
    return not folder.exists()


def _inherit_cpuset(place: Path, group: str) -> None:
    """A version 1 cpuset takes no process before it has been told its processors and memory nodes."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        if (place / name).exists():
            value = (place / name).read_text()
            for folder in _chain(place, group):
                if not (folder / name).read_text().strip():
                    _write(folder / name, value)


def _delegate(place: Path, group: str) -> None:
    """Version 2: what the host controls can be controlled below, too. The machine's own group does it by itself when it boots."""
    for folder in (place, *_chain(place, group)[:-1]):
        for controller in (folder / "cgroup.controllers").read_text().split():
            try:
                (folder / "cgroup.subtree_control").write_text(f"+{controller}")
            except OSError:
                continue  # an outer container may keep a controller to itself


def _chain(place: Path, group: str) -> Sequence[Path]:
    parts = group.split("/")
    return [place.joinpath(*parts[: depth + 1]) for depth in range(len(parts))]


class _Freezer(NamedTuple):
    """How a group is frozen on this host: the file to write, what thaws and what freezes, the file and the line that tell."""

    file: Path
    thaw: str
    freeze: str
    told_by: Path
    told: str


def _freezer(group: str) -> _Freezer | None:
    old, new = hierarchies()
    for place in old:
        if _is_freezer(place):
            file = place / TOP / group / "freezer.state"
            return _Freezer(file, "THAWED", "FROZEN", file, "FROZEN")
    if new is not None:
        folder = new / TOP / group
        return _Freezer(folder / "cgroup.freeze", "0", "1", folder / "cgroup.events", "frozen 1")
    return None


def _is_freezer(place: Path) -> bool:
    return "freezer" in place.name.split(",")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise RuntimeFailed(f"cannot write {text.strip()!r} to {path}: {error.strerror}") from error
