"""An entry's pools as an nginx or a HAProxy configuration. Pure and deterministic.

What reaches the text: addresses that have been parsed, names of `plan.labels`, and what `plan.check_wanted` has let through.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from argosy.errors import InvalidInput
from argosy.router.entry.plan import HTTP, Pool, Wanted, check_wanted, is_router
from argosy.router.naming import parse_address, printable
from argosy.router.render import FOLDINGS, HEALTH, HEALTH_HOST, Settings, rendered
from argosy.router.tuning import directives, haproxy_timeouts, load_balancer

NGINX_TEMPLATE = "entry.conf.j2"
HAPROXY_TEMPLATE = "haproxy.cfg.j2"

OWN_HEALTH = "/_argosy/entry"
"""What the entry itself answers to whoever balances over several entries: 200 while it has a machine to send to, 503 otherwise."""


def render_nginx(pools: Sequence[Pool], wanted: Wanted, sources: Mapping[str, str], *, nofile: int, stream_module: str = "") -> str:
    """nginx.conf. `stream_module`: the file to load for TCP and TLS, "" where nginx has that built in. Raises InvalidInput."""
    if stream_module and not (stream_module.startswith("/") and stream_module.isprintable()):
        raise InvalidInput(f"{printable(stream_module)!r} is no nginx module", remedy="give an absolute path on one line")
    values = {**_values(pools, wanted), "settings": Settings(nofile=nofile, trusted=wanted.trusted), "stream_module": stream_module}
    tuning = load_balancer(wanted.tuning)
    values |= {"router": tuning, "directives": directives(tuning), "foldings": FOLDINGS}
    return rendered(NGINX_TEMPLATE, sources, values)


def render_haproxy(pools: Sequence[Pool], wanted: Wanted, sources: Mapping[str, str], *, interval: float) -> str:
    """haproxy.cfg, with health checks of HAProxy's own each `interval` seconds. Raises InvalidInput."""
    values = {
        **_values(pools, wanted),
        "trusted": wanted.trusted,
        "interval": max(1, round(interval * 1000)),
        "health": HEALTH,
        "health_host": HEALTH_HOST,
        "timeouts": {"connect": "400ms", "client": "1d", "server": "1d", "tunnel": "1d"} | haproxy_timeouts(wanted.tuning),
    }
    return rendered(HAPROXY_TEMPLATE, sources, values)


def _values(pools: Sequence[Pool], wanted: Wanted) -> dict[str, object]:
    check_wanted(wanted)
    for server in (server for pool in pools for server in pool.servers):
        for address in (server.address, *([server.check] if server.check else [])):
            if not is_router(address):
                raise InvalidInput(f"{printable(address)!r} is no address of a machine", remedy="it is IP:PORT")
    return {
        "http": next((pool for pool in pools if pool.name == HTTP), None),
        "passing": [pool for pool in pools if pool.name != HTTP],
        "own_health": OWN_HEALTH,
        "split": parse_address,
    }
