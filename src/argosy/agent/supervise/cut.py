"""A power cut for one supervisor's machine: everything dies at once, and nothing is remembered as running. For the lab and tests."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from argosy.agent.supervise.family import Table, send
from argosy.agent.supervise.protocol import LOCK, SOCKET
from argosy.locks import holder

PATIENCE = 10.0


def cut(folder: Path) -> None:
    """SIGKILL to the supervisor, its pump and every process of its units, and again until none is left (it blocks: call it in a thread).
    Loaded units stay loaded, as on a machine that boots again; launches are forgotten."""
    for lock in (LOCK, "logs/pump.lock"):
        pid = holder(folder / lock)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    identity = (folder / "id").read_text().strip() if (folder / "id").exists() else ""
    end = time.monotonic() + PATIENCE
    while identity and time.monotonic() < end:
        table = Table()
        runs = {(unit, invocation) for _, unit, invocation in table.marked(identity)}
        members = [member for unit, invocation in runs for member in table.family((), f"{identity}:{unit}:{invocation}").values()]
        if not members:
            break
        for member in members:
            send(signal.SIGKILL, member)
        time.sleep(0.01)
    (folder / SOCKET).unlink(missing_ok=True)
    for run in (folder / "units").glob("*/run"):
        run.unlink(missing_ok=True)
