"""argosy router: a router by itself, in a container or as a unit."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import click

from argosy.config import Config, load
from argosy.folders import default_dirs
from argosy.logs import log_to_stderr
from argosy.reconcile import SystemClock
from argosy.router.alone import MOST_LOG, alone_in, keys_doors, keys_feed, serve
from argosy.router.announce.door import KeysDoor
from argosy.router.etcd2 import PREFIX, check_prefix
from argosy.router.loop import settings_of
from argosy.router.nginx import Nginx
from argosy.router.opening import open_router
from argosy.router.report import KeysReporter, Untold

GRACE = 8.0
"""Less than the ten seconds that docker stop waits."""


@click.command()
@click.option(
    "--etcd", default="", metavar="URLS", help="The etcd v2 keys to follow.  [default: http://$HOST_IP:$ETCD_PORT, or 127.0.0.1:4001]"
)
@click.option("--prefix", default=PREFIX, show_default=True, metavar="KEY", help="The directory that holds the apps.")
@click.option("--listen", multiple=True, metavar="HOST:PORT", help="Where http is served; may be repeated.  [default: 0.0.0.0:80]")
@click.option("--tls-listen", multiple=True, metavar="HOST:PORT", help="Where TLS is served, with --certificates.  [default: 0.0.0.0:443]")
@click.option("--certificates", metavar="FOLDER", help="NAME.crt and NAME.key pairs, or .pem bundles; changes are taken up.")
@click.option("--domain", help="Apps answer as APP.DOMAIN; as APP. anything without.")
@click.option("--redirect", is_flag=True, default=None, help="Send http to https.")
@click.option("--hsts", type=click.IntRange(0), metavar="SECONDS", help="Tell browsers to come by https only, for so long.")
@click.option("--trusted", multiple=True, metavar="NETWORK", help="Proxies in front whose X-Forwarded-For and -Proto are believed.")
@click.option("--include", multiple=True, metavar="FILE", help="A further nginx file.")
@click.option("--templates", metavar="FOLDER", help="A folder whose nginx.conf.j2 replaces Argosy's.")
@click.option("--access-log", is_flag=True, default=None, help="A line for each request, to stdout.")
@click.option("--nginx", metavar="PROGRAM", help="The nginx to run.")
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), help="Where nginx's files are; it must be writable.")
@click.option(
    "--grace", default=GRACE, show_default=True, type=click.FloatRange(0, 3600), help="Seconds that requests may take at the end."
)
@click.option("--config", "path", type=click.Path(), envvar="ARGOSY_CONFIG", help="A TOML file, of which [router] and [paths] are read.")
@click.option(
    "--log-level", default="info", show_default=True, type=click.Choice(["debug", "info", "warning", "error"]), help="How much is logged."
)
def router(etcd: str, prefix: str, folder: Path | None, grace: float, path: str | None, log_level: str, **settings: Any) -> None:
    """Run a router by itself, in the foreground, until SIGTERM: it follows the apps announced in etcd's v2 keys (Argosy's own, or a real
    etcd's) and serves them through an nginx of its own. While the keys are away it serves what it knew. For a container, or a unit; the
    agent has a router of its own. Most options are also variables, such as ARGOSY_ROUTER_DOMAIN.

    Example: argosy router --etcd http://192.0.2.11:4001 --domain example.org --certificates /etc/certificates
    """
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, _end)  # a container's first process does not hear it by itself
    config = load(path, flags={f"router.{name}": value for name, value in settings.items() if value not in (None, ())})
    log_to_stderr(log_level)
    doors, prefix = keys_doors(os.environ, etcd), check_prefix(prefix)
    settings_of(config.router)
    folder = (folder or _folder(config)).absolute()
    with alone_in(folder):
        asyncio.run(_serve(config, doors, prefix, folder, grace))


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _folder(config: Config) -> Path:
    """An agent's own router is in `router` of the usual run folder: there this one is beside it."""
    usual = default_dirs(os.environ, os.getuid())[1]
    return config.run_dir / ("router-alone" if config.paths.run == os.path.abspath(usual) else "router")


async def _serve(config: Config, doors: tuple[str, ...], prefix: str, folder: Path, grace: float) -> None:
    clock = SystemClock()
    proxy = Nginx(folder, (config.router.nginx,), most_log=MOST_LOG)
    name = socket.gethostname()
    reports = KeysReporter(KeysDoor(doors), name, os.environ.get("HOST_IP", ""), clock) if prefix == PREFIX else Untold()
    room = open_router(config.router, folder, proxy, keys_feed(doors, clock, prefix), name, clock, reports)
    await serve(room, proxy, folder, clock, grace)
