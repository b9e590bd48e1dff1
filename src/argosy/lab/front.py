"""The entry of a lab: choosing a free port, starting `argosy entry` in front of all machines, waiting until it listens."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from argosy import install
from argosy.errors import Conflict, InvalidInput, RuntimeFailed
from argosy.lab import init
from argosy.lab.base import host
from argosy.lab.state import MARK, LabRecord
from argosy.programs import PATH
from argosy.reconcile import Clock
from argosy.router.entry.ports import said, why_taken
from argosy.router.render import check_listen
from argosy.web.addresses import split_address

HOST, FIRST_PORT, PORTS = "127.0.0.1", 8080, 100
DEADLINE = 15.0
PLACE = "entry"
"""The entry's folder in the lab's: nginx's files, its log, status.json."""


async def choose(wanted: str | None, option: str = "--entry") -> str:
    """HOST:PORT for the entry: what is wanted, if it is free; otherwise the first free one; "" for none ("" wanted, or no nginx)."""
    if wanted == "" or not await has_nginx():
        return ""
    if wanted is None:
        for port in range(FIRST_PORT, FIRST_PORT + PORTS):
            if await asyncio.to_thread(why_taken, f"{HOST}:{port}") is None:
                return f"{HOST}:{port}"
        raise Conflict(
            f"no port from {FIRST_PORT} to {FIRST_PORT + PORTS - 1} is free on {HOST}", remedy=f"name one with {option} HOST:PORT"
        )
    try:
        check_listen(wanted)
    except InvalidInput as error:
        raise InvalidInput(f"{wanted!r} is no address for the entry", remedy="write HOST:PORT, such as 127.0.0.1:8080, or none") from error
    why = await asyncio.to_thread(why_taken, wanted)
    if why is not None:
        raise Conflict(f"the entry cannot listen on {wanted}: {said(why)}", remedy=f"name another with {option}, or leave it out")
    return wanted


async def has_nginx() -> bool:
    return await asyncio.to_thread(shutil.which, "nginx", path=PATH) is not None


async def start(lab: LabRecord, clock: Clock, say: Callable[[str], None]) -> None:
    """Starts the entry of a lab that has one; returns when it listens."""
    if not lab.entry and not lab.entry_tls:
        say("no entry" if await has_nginx() else "no entry: nginx is not installed")
        return
    place = lab.place(PLACE)
    await asyncio.to_thread(place.mkdir, mode=0o711)
    log = f'exec </dev/null >>"{place}/log" 2>&1; exec "$@"'
    options = ("--listen", lab.entry or "none", *(("--tls-listen", lab.entry_tls) if lab.entry_tls else ()))
    if lab.settings.get("router.proxy_protocol") in ("true", "1"):
        options = (*options, "--proxy-protocol")
    if lab.settings.get("router.enabled") in ("no", "false"):
        options = (*options, "--assume-routers")
    entry = ("entry", *options, "--folder", str(place), "--agent", f"unix://{lab.folder}/m*/run/argosy.sock")
    argv = (sys.executable, "-S", init.__file__, HOST, install.program(), *entry)
    await host("setsid", "--fork", "sh", "-c", log, "sh", *argv, environ={"PATH": PATH, MARK: lab.mark(PLACE)})
    end = clock.monotonic() + DEADLINE
    for listen, shown in ((lab.entry, f"http://{lab.entry}/"), (lab.entry_tls, f"https://{lab.entry_tls}/")):
        if listen:
            await _listens(listen, place, end, clock)
            say(f"the entry listens on {shown}")


async def _listens(listen: str, place: Path, end: float, clock: Clock) -> None:
    host, port = split_address(listen)
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1" if host == "*" else host, port)
        except OSError as error:
            if clock.monotonic() > end:
                told = await asyncio.to_thread((place / "log").read_text, errors="replace")
                raise RuntimeFailed(f"the entry does not listen on {listen}: {told[-1000:].strip()}") from error
            await clock.sleep(0.05)
            continue
        writer.close()
        await writer.wait_closed()
        return
