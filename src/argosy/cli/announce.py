"""argosy announce: the sidekick done right."""

from __future__ import annotations

import os
import sys

import click

from argosy.logs import PLAIN, log_to_stderr
from argosy.router.announce.door import endpoints_of
from argosy.router.announce.loop import run_announcer
from argosy.router.announce.plan import LINGER, intent_of


@click.command()
@click.argument("key")
@click.argument("address")
@click.option("--ttl", default=60, show_default=True, type=click.IntRange(3, 86400), help="Seconds after which the key ends by itself.")
@click.option("--check", default="", metavar="URL", help="Announce only while this answers: http(s)://HOST:PORT/PATH or tcp://HOST:PORT.")
@click.option("--check-interval", default=2.0, show_default=True, type=click.FloatRange(0.1, 3600), help="Seconds between checks.")
@click.option(
    "--linger",
    default=LINGER,
    show_default=True,
    type=click.FloatRange(0, 300),
    help="Told to stop: seconds to stay after the key is removed and the last request has ended, so that all routers have let go.",
)
@click.option(
    "--stop-timeout",
    default=0.0,
    type=click.FloatRange(0, 86400),
    metavar="SECONDS",
    help="Told to stop: how long requests in flight are waited for.  [default: the unit's TimeoutStopSec=, or 90]",
)
@click.option("--keys", default="", metavar="URLS", help="The etcd v2 keys door.  [default: ETCDCTL_ENDPOINTS, or http://127.0.0.1:4001]")
def announce(key: str, address: str, ttl: int, check: str, check_interval: float, linger: float, stop_timeout: float, keys: str) -> None:
    """Keep KEY = ADDRESS registered: refreshed before its ttl ends, taken away while the check fails, and removed when told to stop. This
    is what a sidekick unit runs: with Type=notify it counts as started when the key stands, and so when the check has passed. Told to stop,
    it removes the key and ends when the requests in flight have ended: a unit that stops after it loses none.

    For web traffic the key is /services/web/APP/INSTANCE and the address HOST:PORT; every router then sends APP's requests there.

    Example: argosy announce /services/web/hello/1 192.0.2.11:3000
    """
    intent = intent_of(key, address, ttl, check, check_interval, linger, stop_timeout)
    log_to_stderr("info", PLAIN)
    sys.exit(run_announcer(intent, endpoints_of(os.environ, keys)))
