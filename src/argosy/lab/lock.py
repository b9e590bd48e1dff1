"""One command at a time for a lab: a lock that leaves no file behind and that no crash can leave locked."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator

from argosy.errors import Conflict
from argosy.reconcile import Clock

PAUSE = 0.02


@contextlib.asynccontextmanager
async def held(what: str, clock: Clock, patience: float = 120.0) -> AsyncIterator[None]:
    """Waits until nobody else on this host holds `what`, holds it, and lets go at the end. Raises Conflict after `patience` seconds.

    It is the name of an abstract unix socket: the kernel forgets it with the process that bound it.
    """
    end = clock.monotonic() + patience
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as holder:
        while True:
            try:
                holder.bind(f"\0argosy-lab:{what}")
            except OSError as error:
                if clock.monotonic() > end:
                    raise Conflict(f"another argosy lab command works on {what}", remedy="wait for it, or stop it") from error
                await clock.sleep(PAUSE)
                continue
            yield
            return
