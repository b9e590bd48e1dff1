"""What /proc tells of nginx's processes: which master is ours, which of its workers serve and which only finish. Blocks; needs no right
but to see processes of the same user.

Ours are told from others by their working folder: each nginx is started inside its own.
"""

from __future__ import annotations

import os
import resource
import shutil
from pathlib import Path

from argosy.config import RouterSection
from argosy.proc import children, command_line, look, pids, processes, works_in
from argosy.programs import search_path

MASTER = "nginx: master process"
WORKER = "nginx: worker process"
RETIRING = "is shutting down"


def enabled(section: RouterSection) -> bool:
    """Whether this machine routes: yes, no, or wherever nginx is."""
    if section.enabled == "auto":
        return shutil.which(section.nginx, path=search_path()) is not None
    return section.enabled == "yes"


def find_master(folder: Path, pidfile: Path) -> int:
    """The nginx master that runs in `folder`, 0 if there is none: by its pidfile, which may be stale, or else by looking at all
    processes."""
    try:
        named = int(pidfile.read_text())
    except (OSError, ValueError):
        named = 0
    for pid in [named] if is_master(named, folder) else _inside(folder, MASTER):
        return pid
    return 0


def is_master(pid: int, folder: Path) -> bool:
    return pid > 0 and command_line(pid).startswith(MASTER) and works_in(pid, folder)


def workers(master: int) -> dict[int, bool]:
    """The master's workers by pid: True for those that take no new connection and only finish the ones they have."""
    found = {}
    for pid in children(master):
        name = command_line(pid)
        if name.startswith(WORKER):
            found[pid] = RETIRING in name
    return found


def orphans(folder: Path) -> dict[int, bool]:
    """Workers whose master was killed: they go on serving and hold its ports. As `workers`."""
    return {pid: RETIRING in command_line(pid) for pid in _inside(folder, WORKER)}


def by_age(workers: list[int]) -> list[int]:
    """The eldest first; those that are gone are left out."""
    found = [process for process in map(look, workers) if process is not None]
    return [process.pid for process in sorted(found, key=lambda process: process.start)]


def _inside(folder: Path, name: str) -> list[int]:
    return [pid for pid in pids() if command_line(pid).startswith(name) and works_in(pid, folder)]


def open_files(most: int = 65_536) -> int:
    """How many files an nginx worker may be told to open: never above the hard limit, which only root of the host may raise."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return most if hard == resource.RLIM_INFINITY else min(most, hard)


def reap(before: frozenset[int]) -> frozenset[int]:
    """Collects children that have ended and that nobody waits for: those that had ended at the look `before` and still stand. Returns the
    children that have ended now and were not collected. For the first process of a container, to which all orphans come."""
    ended = frozenset(process.pid for process in processes() if process.parent == os.getpid() and process.dead)
    for pid in before & ended:
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            continue
    return ended - before
