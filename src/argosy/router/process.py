"""What /proc tells of nginx's processes: which master is ours, which of its workers serve and which only finish. Blocks; needs no right
but to see processes of the same user.

Ours are told from others by their working folder: each nginx is started inside its own.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
from pathlib import Path

import psutil

from argosy.config import RouterSection

MASTER = "nginx: master process"
WORKER = "nginx: worker process"
RETIRING = "is shutting down"


def enabled(section: RouterSection) -> bool:
    """Whether this machine routes: yes, no, or wherever nginx is."""
    if section.enabled == "auto":
        return shutil.which(section.nginx, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin") is not None
    return section.enabled == "yes"


def title(pid: int) -> str:
    """What the process calls itself; "" when it is gone or a zombie."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def lives_in(pid: int, folder: Path) -> bool:
    try:
        return os.path.samestat(os.stat(f"/proc/{pid}/cwd"), os.stat(folder))
    except OSError:
        return False


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
    return pid > 0 and title(pid).startswith(MASTER) and lives_in(pid, folder)


def workers(master: int) -> dict[int, bool]:
    """The master's workers by pid: True for those that take no new connection and only finish the ones they have."""
    found = {}
    for pid in _children(master):
        name = title(pid)
        if name.startswith(WORKER):
            found[pid] = RETIRING in name
    return found


def orphans(folder: Path) -> dict[int, bool]:
    """Workers whose master was killed: they go on serving and hold its ports. As `workers`."""
    return {pid: RETIRING in title(pid) for pid in _inside(folder, WORKER)}


def by_age(pids: list[int]) -> list[int]:
    """The eldest first; those that are gone are left out."""
    ages = []
    for pid in pids:
        try:
            ages.append((int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]), pid))
        except (OSError, ValueError, IndexError):
            continue
    return [pid for _, pid in sorted(ages)]


def send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _children(master: int) -> list[int]:
    try:
        return [int(pid) for pid in Path(f"/proc/{master}/task/{master}/children").read_text().split()]
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN, or no such process
        try:
            return [child.pid for child in psutil.Process(master).children()]
        except psutil.Error:
            return []
    except OSError:
        return []


def _inside(folder: Path, name: str) -> list[int]:
    pids = [int(entry) for entry in os.listdir("/proc") if entry.isdecimal()]
    return [pid for pid in pids if title(pid).startswith(name) and lives_in(pid, folder)]


def open_files(most: int = 65_536) -> int:
    """How many files an nginx worker may be told to open: never above the hard limit, which only root of the host may raise."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return most if hard == resource.RLIM_INFINITY else min(most, hard)


def reap(before: frozenset[int]) -> frozenset[int]:
    """Collects children that have ended and that nobody waits for: those that had ended at the look `before` and still stand. Returns the
    children that have ended now and were not collected. For the first process of a container, to which all orphans come."""
    ended = frozenset(child.pid for child in psutil.Process().children() if _has_ended(child))
    for pid in before & ended:
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            continue
    return ended - before


def _has_ended(child: psutil.Process) -> bool:
    try:
        return bool(child.status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
