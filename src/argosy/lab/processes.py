"""The processes of a lab, seen on the host in /proc: by the mark in their environment, and by descent.

Everything here blocks shortly: call it through asyncio.to_thread.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import defaultdict
from collections.abc import Iterable

import msgspec

from argosy import proc
from argosy.errors import RuntimeFailed
from argosy.lab.base import Process
from argosy.lab.state import MARK

KILL_DEADLINE = 10.0


class Seen(msgspec.Struct, frozen=True):
    """A process when it was looked at. `state` is the letter of /proc/PID/stat, `started` its time there (a number is used again, not with
    the same time), `mark` the folder that it was started for. Of marked ones: `nested`: in a PID namespace below ours; `init`: as its first
    process."""

    pid: int
    parent: int
    state: str
    mark: str
    started: int = 0
    nested: bool = False
    init: bool = False

    @property
    def alive(self) -> bool:
        return self.state not in "ZX"


def scan() -> dict[int, Seen]:
    """Every process of the host that we may look into, by pid."""
    return {process.pid: _seen(process) for process in proc.processes()}


def below(folder: str, processes: dict[int, Seen]) -> set[int]:
    """Those of a lab (its folder), or of one machine of it (the machine's folder): marked ones, and all that descends from them. Never
    the asker or who started it: somebody may remove a lab from a shell inside it."""
    prefix = folder + "/"
    roots = {pid for pid, seen in processes.items() if seen.mark == folder or seen.mark.startswith(prefix)}
    return descendants(roots, processes) - _ancestry(os.getpid(), processes)


def descendants(roots: Iterable[int], processes: dict[int, Seen]) -> set[int]:
    """The roots and everything that descends from them, as far as it is alive."""
    children: dict[int, list[int]] = defaultdict(list)
    for seen in processes.values():
        children[seen.parent].append(seen.pid)
    found: set[int] = set()
    queue = list(roots)
    while queue:
        pid = queue.pop()
        if pid not in found and pid in processes:
            found.add(pid)
            queue.extend(children[pid])
    return {pid for pid in found if processes[pid].alive}


def _ancestry(pid: int, processes: dict[int, Seen]) -> set[int]:
    found = set()
    while pid in processes:
        found.add(pid)
        pid = processes[pid].parent
    return found


def freeze(folder: str) -> dict[int, Seen]:
    """SIGSTOP to everything of a machine, again until nothing new appears in two looks: what stands still cannot fork. Returns them."""
    stopped: dict[int, Seen] = {}
    calm = 0
    while calm < 2:
        seen = scan()
        running = below(folder, seen) - stopped.keys()
        calm = 0 if running else calm + 1
        proc.send(running, signal.SIGSTOP)
        stopped |= {pid: seen[pid] for pid in running}
    return stopped


def thaw(folder: str) -> None:
    proc.send(below(folder, scan()), signal.SIGCONT)


def kill(folder: str, also: Iterable[Seen] = (), deadline: float = KILL_DEADLINE) -> None:
    """SIGKILL to everything of a machine at one moment; returns when nothing of it is left, nor of `also`. (A process that
    is ending has lost its mark already, and holds its sockets still.)"""
    end = time.monotonic() + deadline
    doomed = freeze(folder)
    doomed.update((process.pid, process) for process in also)
    while True:
        proc.send(doomed, signal.SIGKILL)
        seen = scan()
        doomed |= {pid: seen[pid] for pid in below(folder, seen)}
        doomed = {pid: was for pid, was in doomed.items() if pid in seen and seen[pid].alive and seen[pid].started == was.started}
        if not doomed:
            return
        if time.monotonic() > end:
            raise RuntimeFailed(f"processes {sorted(doomed)} of {folder} do not end, not even by SIGKILL")
        time.sleep(0.005)


def describe(pids: Iterable[int]) -> tuple[Process, ...]:
    """What `ps` shows, by pid; processes that have ended meanwhile are left out."""
    commands = {pid: proc.command_line(pid) for pid in sorted(pids)}
    return tuple(Process(pid=pid, command=command, memory=proc.proportional_memory(pid)) for pid, command in commands.items() if command)


def _seen(process: proc.Process) -> Seen:
    mark = proc.variable(process.pid, MARK)
    if not mark and process.name == "nginx":
        mark = proc.folder(process.pid)  # it forgets its environment, and works in its folder
    inner = _numbers(process.pid) if mark else []
    nested = len(inner) > 1
    return Seen(process.pid, process.parent, process.state, mark, process.start, nested, init=nested and inner[-1] == b"1")


def _numbers(pid: int) -> list[bytes]:
    """The process's number in our PID namespace and in each below, down to its own."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status", "rb") as file:
        for line in file:
            if line.startswith(b"NSpid:"):
                return line.split()[1:]
    return []
