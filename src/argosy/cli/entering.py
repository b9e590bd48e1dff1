"""What argosy entry is made of: its agents, its nginx, its folder, and the service that runs it at boot."""

from __future__ import annotations

import asyncio
import glob
import logging
import os
import shlex
import shutil
import signal
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client import start_http_server

from argosy import locks
from argosy.cli.client import endpoints
from argosy.errors import Conflict, InvalidInput, NotFound, Unsuitable
from argosy.programs import search_path
from argosy.reconcile import SystemClock
from argosy.router import process
from argosy.router.entry import metrics
from argosy.router.entry.door import Agents
from argosy.router.entry.haproxy import ConfigFile
from argosy.router.entry.loop import STATUS, Entry
from argosy.router.entry.plan import Pool, Wanted, plan, pools
from argosy.router.entry.ports import check_free
from argosy.router.entry.publish import Publisher
from argosy.router.entry.render import render_haproxy, render_nginx
from argosy.router.modules import stream_module
from argosy.router.nginx import PIDFILE, Nginx
from argosy.router.sources import read_sources
from argosy.router.tuning import tuning_text
from argosy.signals import first_signal
from argosy.trust import contexts
from argosy.web.addresses import split_address

log = logging.getLogger(__name__)

NGINX = "nginx"
"""nginx's folder in the entry's."""


class Asked(msgspec.Struct, frozen=True):
    """Everything that argosy entry was asked for. `agents`: where to ask, as given; `tls`: authority, certificate and key."""

    wanted: Wanted
    agents: tuple[str, ...] = ()
    tls: tuple[str, str, str] | None = None
    folder: str = ""
    interval: float = 0.2
    grace: float = 10.0
    metrics: str = ""

    @property
    def passes(self) -> bool:
        """Whether it carries TLS or TCP, for which nginx needs a module."""
        return bool(self.wanted.tls_listen or self.wanted.tcp)


def given(agents: Sequence[str], endpoint: str | None, environ: Mapping[str, str] = os.environ) -> Callable[[], list[str]]:
    """Whom to ask, looked up anew each time: those named, of whom unix sockets may be patterns; or those of --endpoint, ARGOSY_ENDPOINT or
    ARGOSY_LAB; or else this machine's own agent (and never another cluster's, should that one be away)."""
    if agents:
        return lambda: [found for text in agents for found in _expanded(text)]
    if endpoint or environ.get("ARGOSY_ENDPOINT") or environ.get("FLEETCTL_ENDPOINT") or environ.get("ARGOSY_LAB"):
        return lambda: list(endpoints(endpoint, environ)[0])
    own = [group[0] for group in endpoints(None, environ) if len(group) == 1]
    here = next((one for one in own if os.path.exists(one.removeprefix("unix://"))), own[0])
    return lambda: [here]


def _expanded(text: str) -> list[str]:
    path = text.removeprefix("unix://")
    return sorted(glob.glob(path)) if path.startswith("/") and glob.has_magic(path) else [text]


def agents_of(asked: Asked, endpoint: str | None) -> Agents:
    """Raises InvalidInput for certificates that cannot be used."""
    context = contexts.client(*asked.tls) if asked.tls else None
    return Agents(given(asked.agents, endpoint), SystemClock(), context)


# --- printing


async def printed(asked: Asked, kind: str, endpoint: str | None) -> str:
    """The configuration for the machines as they are now. Raises StoreUnavailable where no agent answers."""
    render = await asyncio.to_thread(renderer, asked, kind)
    members = await agents_of(asked, endpoint).ask()
    found = plan(members, asked.wanted)
    for left in found.left:
        log.warning("%s: %s is no part of it: %s", left.pool, left.name, left.reason)
    return render(pools(asked.wanted, found.backends))


def renderer(asked: Asked, kind: str) -> Callable[[Sequence[Pool]], str]:
    """From pools to a configuration of that kind. Blocks."""
    sources = read_sources()
    if kind == "haproxy":
        return lambda chosen: render_haproxy(chosen, asked.wanted, sources, interval=asked.interval)
    module = stream_module() if asked.passes else ""
    return lambda chosen: render_nginx(chosen, asked.wanted, sources, nofile=process.open_files(), stream_module=module)


async def publish(asked: Asked, kind: str, endpoint: str | None, output: Path, reload: str) -> None:
    """Keeps `output` up to date until told to stop."""
    file = ConfigFile(output, _checker(kind, output), _words(reload))
    publisher = Publisher(asked.wanted, await asyncio.to_thread(renderer, asked, kind), file, SystemClock())
    agents = agents_of(asked, endpoint)
    await _until(first_signal(signal.SIGTERM, signal.SIGINT, signal.SIGHUP), [publisher.run, lambda: agents.follow(publisher.know)])


def _checker(kind: str, output: Path) -> tuple[str, ...]:
    if shutil.which(kind, path=search_path()) is None:
        log.warning("%s is not installed here: what is written is not checked before it is swapped in", kind)
        return ()
    return ("haproxy", "-c", "-f") if kind == "haproxy" else ("nginx", "-t", "-q", "-e", "stderr", "-p", f"{output.parent}/", "-c")


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise InvalidInput(f"--reload {command!r} is no command: {error}", remedy="quote it as for a shell") from error


# --- serving


async def serve(asked: Asked, endpoint: str | None) -> None:
    """Until SIGTERM or SIGINT, which let requests finish and end nginx, or SIGHUP, which leaves it running for the next argosy entry."""
    told = first_signal(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    folder = Path(asked.folder)
    proxy = Nginx(folder / NGINX)
    with await asyncio.to_thread(prepared, asked, folder) as module:
        entry = Entry(asked.wanted, proxy, SystemClock(), folder=folder, stream_module=module, interval=asked.interval)
        agents = agents_of(asked, endpoint)
        number = await _until(told, [entry.run, lambda: agents.follow(entry.know)])
        if number == signal.SIGHUP:
            log.info("leaving: nginx goes on with what it serves until an entry is started again")
            return
        log.info("stopping: requests may finish for %g s", asked.grace)
        await proxy.stop(asked.grace)


def prepared(asked: Asked, folder: Path) -> Any:
    """Blocks; raises Conflict where an entry runs in the folder already, or something else listens where it should, and Unsuitable where
    nginx cannot do it. A context manager that gives nginx's module for TCP."""
    module = stream_module() if asked.passes else ""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        if os.geteuid() == 0:
            folder.chmod(folder.stat().st_mode & 0o7777 | 0o011)  # nginx's workers, of another user, pass through
    except OSError as error:
        raise Unsuitable(f"cannot use the folder {folder}: {error.strerror}", remedy="name another with --folder") from error
    return _held(asked, folder, module)


@contextmanager
def _held(asked: Asked, folder: Path, module: str) -> Iterator[str]:
    lock = locks.take(folder / "lock")
    if lock is None:
        raise Conflict(f"an entry runs in {folder} already", remedy="name another folder with --folder, or stop that one")
    try:
        if not process.find_master(folder / NGINX, folder / NGINX / PIDFILE):
            check_free(asked.wanted.everywhere)
        if asked.metrics:
            _show_metrics(asked.metrics)
        yield module
    finally:
        os.close(lock)


def _show_metrics(listen: str) -> None:
    host, port = split_address(listen)
    try:
        start_http_server(port, host, registry=metrics.REGISTRY)
    except OSError as error:
        raise Conflict(f"metrics cannot listen on {listen}: {error.strerror or error}", remedy="name another address") from error


async def _until(told: asyncio.Future[int], works: Sequence[Callable[[], Coroutine[Any, Any, None]]]) -> int:
    """Runs them side by side until then."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work()) for work in works]
        await told
        for task in tasks:
            task.cancel()
    return told.result()


# --- looking, and running at boot


def status(folder: Path) -> dict[str, Any]:
    """What the entry in that folder says of itself, and whether it runs. Raises NotFound where none has ever run."""
    try:
        known: dict[str, Any] = msgspec.json.decode((folder / STATUS).read_bytes())
        running = locks.is_held(folder / "lock")
    except (OSError, msgspec.DecodeError) as error:
        raise NotFound(f"no entry tells of itself in {folder}", remedy="name its folder with --folder") from error
    return {"running": running, **known}


def words_of(asked: Asked) -> list[str]:
    """The options that ask for the same again."""
    wanted = asked.wanted
    found = [*(word for listen in wanted.listen or ("none",) for word in ("--listen", listen))]
    found += [word for listen in wanted.tls_listen for word in ("--tls-listen", listen)]
    found += [word for listen, port in wanted.tcp for word in ("--tcp", f"{listen}={port}")]
    found += [word for network in wanted.trusted for word in ("--trusted", network)]
    found += ["--metadata", ",".join(f"{key}={value}" for key, value in wanted.metadata.items())] if wanted.metadata else []
    found += ["--settings", words] if (words := tuning_text(wanted.tuning)) else []
    found += ["--proxy-protocol"] if wanted.proxy_protocol else []
    found += ["--assume-routers"] if wanted.assume else []
    found += [word for one in asked.agents for word in ("--agent", one)]
    if asked.tls:
        found += [
            word for name, path in zip(("ca", "cert", "key"), asked.tls, strict=True) for word in (f"--{name}", os.path.abspath(path))
        ]
    found += ["--folder", os.path.abspath(asked.folder), "--check-interval", f"{asked.interval:g}", "--grace", f"{asked.grace:g}"]
    return [*found, *(["--metrics", asked.metrics] if asked.metrics else [])]
