"""python -m argosy.agent.supervise FOLDER: becomes the supervisor of that folder, detached from whoever started it.

Ends at once, with 0, when the supervisor is ready to be spoken to or another one already is; otherwise with 1 and a line that says why.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from argosy import locks, proc
from argosy.agent.supervise.loop import Loop
from argosy.agent.supervise.notify import NotifySocket
from argosy.agent.supervise.outputs import Outputs, PumpKeeper
from argosy.agent.supervise.processes import Processes
from argosy.agent.supervise.protocol import LOCK, LOG, SOCKET
from argosy.agent.supervise.recovery import recover
from argosy.agent.supervise.saved import Files
from argosy.agent.supervise.server import Server
from argosy.agent.supervise.spawn import Place
from argosy.agent.supervise.supervision import Supervision
from argosy.reconcile import SystemClock

LARGEST_LOG = 1024 * 1024
ENOUGH_FILES = 65536
LONGEST_ADDRESS = 107
_PR_SET_CHILD_SUBREAPER = 36


class Supervisor:
    """The process, put together. `open_files`: the soft limit that its units shall have."""

    def __init__(self, folder: Path, lock: int, open_files: int) -> None:
        self._folder = folder
        self._lock = lock
        self._open_files = open_files
        self._renewing = False
        self._loop = Loop()
        files = Files(folder, proc.boot_id())
        self._outputs = Outputs(folder / "logs")
        notify = NotifySocket(files.id)
        self._supervision = Supervision(files, self._outputs, SystemClock(), self._changed)
        place = Place(self._supervision.variables, notify.address, files.id, open_files)
        self._processes = Processes(self._loop, place, self._outputs, self._supervision.tell)
        self._supervision.processes = self._processes
        self._pump = PumpKeeper(self._loop, self._outputs, SystemClock())
        self._loop.on_signal(signal.SIGCHLD, self._reap)
        self._loop.on_signal(signal.SIGTERM, self._supervision.end)
        for number in (signal.SIGHUP, signal.SIGINT):
            self._loop.on_signal(number, lambda: None)
        recover(files, self._supervision)
        self._reap()
        self._notify = notify
        self._loop.on_readable(notify.fileno(), self._notified)
        self._server = Server(self._loop, folder / SOCKET, self._supervision, lambda: files.trouble, self._renew)

    def run(self) -> None:
        self._loop.run(self._round)
        if not self._renewing:
            (self._folder / SOCKET).unlink(missing_ok=True)
            return
        os.set_inheritable(self._lock, True)
        words = [sys.executable, "-P", "-m", "argosy.agent.supervise", str(self._folder), str(self._lock), str(self._open_files)]
        os.execv(sys.executable, words)

    def _round(self) -> float | None:
        pauses = [self._supervision.round(), self._pump.round()]
        if self._renewing or self._supervision.ended:
            self._outputs.quit()  # a renewed supervisor starts a pump that is as new as itself
            self._loop.stop()
        return min((pause for pause in pauses if pause is not None), default=None)

    def _reap(self) -> None:
        for pid in self._processes.reap():
            self._pump.ended(pid)

    def _notified(self) -> None:
        for datagram in self._notify.receive():
            self._supervision.notified(datagram)

    def _changed(self, names: Sequence[str]) -> None:
        self._server.changed(names)

    def _renew(self) -> None:
        self._renewing = True


def main(arguments: Sequence[str]) -> int:
    folder = Path(arguments[0])
    if len(arguments) == 3:  # we are a supervisor that has executed itself anew
        lock, open_files = int(arguments[1]), int(arguments[2])
        os.set_inheritable(lock, False)
        Supervisor(folder, lock, open_files).run()
        return 0
    try:
        _own(folder)
        found = locks.take(folder / LOCK)
        if found is None:
            return 0
        ready = _detach(folder)
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if ready is None:
        return 0
    try:
        locks.sign(found)
        supervisor = Supervisor(folder, found, _raise_limit())
    except Exception as error:
        os.write(ready, f"{type(error).__name__}: {error}".encode())
        traceback.print_exc()
        return 1
    os.write(ready, b"ready")
    os.close(ready)
    supervisor.run()
    return 0


def _own(folder: Path) -> None:
    """The folder is ours alone, or we do not use it."""
    address = os.fsencode(folder / SOCKET)
    if len(address) > LONGEST_ADDRESS:
        raise OSError(f"{folder}: too long for a folder with a socket in it, which has {LONGEST_ADDRESS} bytes at most")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = folder.lstat()
    if about.st_uid != os.geteuid():
        raise OSError(f"{folder} belongs to user {about.st_uid}, not to us ({os.geteuid()})")
    if about.st_mode & 0o077:
        folder.chmod(0o700)


def _detach(folder: Path) -> int | None:
    """Forks. The child, in a session of its own, gets the pipe by which it says that it is ready; whoever started us waits here for that,
    and gets None."""
    told, ready = os.pipe2(os.O_CLOEXEC)
    if os.fork():
        os.close(ready)
        with open(told, "rb") as file:
            word = file.read()
        if word != b"ready":
            raise OSError(word.decode(errors="replace") or f"the supervisor died: see {folder / LOG}")
        return None
    os.close(told)
    os.setsid()
    os.chdir("/")
    os.umask(0o077)
    path = folder / LOG
    if path.exists() and path.stat().st_size > LARGEST_LOG:
        path.replace(f"{path}.1")
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    return ready


def _raise_limit() -> int:
    """Each unit costs a few open files. Returns the soft limit as it was."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, ENOUGH_FILES)), hard))
    return soft


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
