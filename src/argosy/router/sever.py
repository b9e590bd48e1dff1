"""Ending connections to a machine that has fallen silent, so that requests waiting on them are asked of another at once.

A machine that loses its power answers nothing any more, not even that a connection is gone: a request that it had accepted would be
waited for until the client gives up. The kernel can end such connections (`ss -K`, as root, where it was built with
INET_DIAG_DESTROY); nginx sees an error then and, for requests that may be repeated, asks the next server. Where it cannot be done nothing
is lost but time.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from asyncio.subprocess import DEVNULL

from argosy.errors import InvalidInput
from argosy.router.naming import parse_address

log = logging.getLogger(__name__)

PATIENCE = 2.0


async def sever(address: str) -> None:
    """Ends this host's TCP connections to `address` (IP:PORT), in whichever process; never raises for a host that cannot."""
    program = await asyncio.to_thread(shutil.which, "ss", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin:/bin")
    if program is None or os.geteuid() != 0:
        return
    try:
        target = parse_address(address)
    except InvalidInput:
        return
    argv = ("-K", "-t", "-H", "state", "connected", "dst", target.host, "dport", "=", f":{target.port}")
    child = await asyncio.create_subprocess_exec(program, *argv, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)
    try:
        async with asyncio.timeout(PATIENCE):
            await child.wait()
    except TimeoutError:
        child.kill()
        await child.wait()
        log.warning("connections to %s could not be ended within %.0f s", address, PATIENCE)
