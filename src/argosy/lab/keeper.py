"""Keeps a program of root's in namespaces of its own, and takes every trace of it away when its owner is gone, however that came.

    python -P -m argosy.lab.keeper SPEC     # SPEC: a Kept as JSON

Two processes. The outer one stays in the host's namespaces: it removes the folder and the control group at the end. The inner one is the
first process of a PID namespace, as an init is: it starts the program when told to, buries orphans, and when it ends, the kernel kills
everything in the namespace. It ends when its standard input does: the owner holds the other end, so a SIGKILL of the owner is enough.

Lines on standard input: `start`, `signal NUMBER` (to the program). On standard output: `host PID` (a process of the host that is in the
same network namespace), `started`, `ended STATUS` (as a shell counts it: 128 + the signal's number).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector

import msgspec

from argosy.errors import ArgosyError
from argosy.lab import cgroups


class Kept(msgspec.Struct, frozen=True):
    """What to keep. `command` writes to `log`; `binds` are (folder of the host, place where the program sees it); `group` is the control
    group below `cgroups.TOP` that is removed at the end, with `folder`; `own_network`: a network namespace of its own, with loopback up."""

    command: tuple[str, ...]
    folder: str
    log: str
    group: str
    binds: tuple[tuple[str, str], ...] = ()
    own_network: bool = False


def outside(spec: Kept) -> int:
    """The outer process: returns when everything is gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a Ctrl-C reaches the owner, and its end is what counts
    argv = ["unshare", "--mount", "--propagation=slave", "--pid", "--fork", "--kill-child", "--mount-proc"]
    argv += ["--net"] if spec.own_network else []
    argv += [sys.executable, "-P", "-m", "argosy.lab.keeper", msgspec.json.encode(spec).decode(), "inside"]
    with subprocess.Popen(argv, restore_signals=True) as inner:
        _say(f"host {inner.pid}")
        code = inner.wait()
    # a folder that vanishes is nobody's loss; one that stays because a group does would be
    with contextlib.suppress(ArgosyError, OSError):
        cgroups.remove(spec.group)
    shutil.rmtree(spec.folder, ignore_errors=True)
    return code


def inside(spec: Kept) -> int:
    """The inner process: returns at the end of standard input, which is the end of all that was started."""
    for source, target in spec.binds:
        os.makedirs(target, exist_ok=True)
        subprocess.run(["mount", "--bind", source, target], check=True)
    if spec.own_network:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    heard, rings = os.pipe()
    os.set_blocking(rings, False)
    signal.set_wakeup_fd(rings, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    with DefaultSelector() as selector:
        selector.register(sys.stdin.fileno(), EVENT_READ)
        selector.register(heard, EVENT_READ)
        return _serve(spec, selector, heard)


def _serve(spec: Kept, selector: DefaultSelector, bell: int) -> int:
    program, rest = 0, b""
    while True:
        ready = {key.fd for key, _ in selector.select()}
        if bell in ready:
            os.read(bell, 4096)
            for pid, status in _dead():
                if pid == program:
                    program = 0
                    code = os.waitstatus_to_exitcode(status)
                    _say(f"ended {code if code >= 0 else 128 - code}")
        if sys.stdin.fileno() in ready:
            data = os.read(sys.stdin.fileno(), 4096)
            if not data:
                return 0
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                program = _obey(line.decode(), spec, program)


def _obey(line: str, spec: Kept, program: int) -> int:
    """Does what a line says; returns the program's pid, 0 if it does not run."""
    verb, _, argument = line.partition(" ")
    if verb == "start" and not program:
        with open(spec.log, "ab") as log, open(os.devnull, "rb") as nothing:
            streams = [(os.POSIX_SPAWN_DUP2, nothing.fileno(), 0)]
            streams += [(os.POSIX_SPAWN_DUP2, log.fileno(), number) for number in (1, 2)]
            program = os.posix_spawnp(spec.command[0], spec.command, os.environ, file_actions=streams, setsid=True)
        _say("started")
    elif verb == "signal" and program:
        os.kill(program, int(argument))
    return program


def _dead() -> Iterable[tuple[int, int]]:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            yield pid, status


def _say(line: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    kept = msgspec.json.decode(sys.argv[1], type=Kept)
    if not Path(kept.folder).is_dir():
        sys.exit(f"{kept.folder} is no folder")
    sys.exit(inside(kept) if sys.argv[2:] == ["inside"] else outside(kept))
