"""What standalone routers serve, by the keys that they follow. Loaded only where there is such a router: rendering loads slowly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from argosy.api.shapes import RouterView
from argosy.model import Entry
from argosy.router import served


def listed(routers: Sequence[RouterView], announced: Mapping[str, str]) -> list[RouterView]:
    """Return the routers; a standalone one, which cannot be asked, with what it serves if its digest is that of the announced keys that
    etcd's API lists."""
    return [_with_announced(router, announced) if router.standalone else router for router in routers]


def _with_announced(router: RouterView, announced: Mapping[str, str]) -> RouterView:
    seen = {key: Entry(value) for key, value in announced.items() if not any(part.startswith("_") for part in key.split("/"))}
    wanted = served.announced(seen, router.domain)
    if router.digest != served.digest((up.app, up.instance, up.address) for up in wanted.upstreams):
        return router
    upstreams = tuple(msgspec.structs.replace(up, since=router.since) for up in wanted.upstreams)
    return msgspec.structs.replace(router, upstreams=upstreams, hosts=wanted.hosts, omitted=0)
