"""A router as a process of its own, in a container or as a unit: until it is told to stop, and then it lets requests finish.

nginx's logs go to this process's own outputs, errors to stderr and requests to stdout. As the first process of a container it also
collects what others leave behind when they end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from argosy import locks
from argosy.errors import Conflict, Unsuitable
from argosy.reconcile import Clock
from argosy.router import process
from argosy.router.announce.door import endpoints_of
from argosy.router.base import Proxy
from argosy.router.etcd2 import PATIENT, PREFIX, Etcd2Feed, Times, check_prefix
from argosy.router.feed import Feed, JoinedFeed
from argosy.router.loop import Router
from argosy.router.render import SETTINGS
from argosy.router.tail import Tail
from argosy.signals import first_signal
from argosy.terminal import content
from argosy.web.addresses import join_address

log = logging.getLogger(__name__)

RELAY_EVERY = 0.2
REAP_EVERY = 1.0
ERRORS = "error.log"
REQUESTS = "access.log"
ETCD_PORT = "4001"
MOST_LOG = 2_000_000
"""Bytes of a log file before nginx begins another: what is in it has been passed on."""


def keys_doors(environ: Mapping[str, str], given: str = "") -> tuple[str, ...]:
    """The etcd v2 keys to follow: those given, else HOST_IP and ETCD_PORT, else what etcdctl's variables say, else this machine's. Raises
    InvalidInput."""
    host = environ.get("HOST_IP", "")
    if not given and host:
        given = f"http://{join_address(host, environ.get('ETCD_PORT') or ETCD_PORT)}"
    return endpoints_of(environ, given)


def keys_feed(doors: Sequence[str], clock: Clock, prefix: str = PREFIX, times: Times = PATIENT) -> Feed:
    """Return the feed of the routes below the prefix, and of the apps' settings, which etcd hides from whoever follows the prefix."""
    settings = f"{check_prefix(prefix)}/{SETTINGS}"
    return JoinedFeed({"": Etcd2Feed(doors, clock, prefix, times), f"{SETTINGS}/": Etcd2Feed(doors, clock, settings, times)})


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Makes the folder and keeps other routers out of it. Raises Conflict and Unsuitable. Blocks."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = locks.take(folder / "lock")
    except OSError as error:
        raise Unsuitable(f"cannot write into {folder}: {error.strerror}", remedy="name a folder that can be written: --folder") from error
    if lock is None:
        raise Conflict(f"another router runs in {folder}", remedy="name another folder: --folder")
    try:
        yield
    finally:
        os.close(lock)


async def serve(router: Router, proxy: Proxy, folder: Path, clock: Clock, grace: float) -> None:
    """Until SIGTERM or SIGINT; then requests may take `grace` seconds to finish, and nginx ends too."""
    stopping = first_signal()
    logs = [(await asyncio.to_thread(Tail, folder / name), name == ERRORS) for name in (ERRORS, REQUESTS)]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(router.run(), name="router"), group.create_task(_relay(logs, clock), name="logs")]
            if os.getpid() == 1:
                tasks.append(group.create_task(_reap(clock), name="reaper"))
            await stopping
            log.info("stopping: requests have %g s to finish", grace)
            for task in tasks:
                task.cancel()
    finally:
        await proxy.stop(grace)
        await asyncio.to_thread(_pass_on, logs)


async def _relay(logs: Sequence[tuple[Tail, bool]], clock: Clock) -> None:
    while True:
        await asyncio.to_thread(_pass_on, logs)
        await clock.sleep(RELAY_EVERY)


def _pass_on(logs: Sequence[tuple[Tail, bool]]) -> None:
    for tail, errors in logs:
        said = tail.more()
        if said:
            with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
                content(said, err=errors)


async def _reap(clock: Clock) -> None:
    ended: frozenset[int] = frozenset()
    while True:
        await clock.sleep(REAP_EVERY)
        ended = await asyncio.to_thread(process.reap, ended)
