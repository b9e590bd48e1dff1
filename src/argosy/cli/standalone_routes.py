"""What standalone routers serve, by the keys that they follow. Loaded only where there is such a router: rendering loads slowly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from argosy.cli.cluster import View
from argosy.model import Entry
from argosy.router import served


def listed(routers: Sequence[View], announced: Mapping[str, str]) -> list[View]:
    """Return the routers; a standalone one, which cannot be asked, with what it serves if its digest is that of the announced keys that
    etcd's API lists."""
    return [_with_announced(router, announced) if router.get("standalone") else router for router in routers]


def _with_announced(router: View, announced: Mapping[str, str]) -> View:
    seen = {key: Entry(value) for key, value in announced.items() if not any(part.startswith("_") for part in key.split("/"))}
    wanted = served.announced(seen, router.get("domain", ""))
    if router.get("digest") != served.digest((up.app, up.instance, up.address) for up in wanted.upstreams):
        return router
    since = router.get("since", 0.0)
    upstreams = [{"app": up.app, "instance": up.instance, "address": up.address, "since": since} for up in wanted.upstreams]
    return {**router, "upstreams": upstreams, "hosts": wanted.hosts, "omitted": 0}
