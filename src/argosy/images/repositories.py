"""Which repositories there are, and which tags they have, a page at a time."""

from __future__ import annotations

import heapq

from argosy.images import layout
from argosy.images.storage import Storage

MANIFESTS = "_manifests"


class Repositories:
    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def exists(self, repository: str) -> bool:
        """A repository exists while it holds anything."""
        children = await self._storage.children(layout.repository(repository))
        return any(name.startswith("_") for name in children.prefixes)

    async def tags(self, repository: str, after: str = "", limit: int = 0) -> list[str]:
        """Sorted by code point, those greater than `after`, at most `limit` unless that is 0."""
        prefix = layout.tags(repository)
        entries = await self._storage.entries(prefix, prefix + after if after else "", limit)
        return [entry.key.removeprefix(prefix) for entry in entries]

    async def names(self, after: str = "", limit: int = 0) -> list[str]:
        """The same for the repositories of the registry that hold a manifest. Costs a round trip for each one on the page and for each
        component of their names; those before `after` are passed over unseen."""
        found: list[str] = []
        top = await self._storage.children(layout.REPOSITORIES)
        waiting = [name for name in top.prefixes if not _passed(name, after)]
        heapq.heapify(waiting)
        while waiting and not (limit and len(found) >= limit):
            name = heapq.heappop(waiting)  # whatever is found beneath it is greater than it
            children = await self._storage.children(layout.repository(name))
            if MANIFESTS in children.prefixes and name > after:
                found.append(name)
            for child in children.prefixes:
                if not child.startswith("_") and not _passed(f"{name}/{child}", after):
                    heapq.heappush(waiting, f"{name}/{child}")
        return found


def _passed(name: str, after: str) -> bool:
    """Neither this name nor any beneath it is greater than `after`: those beneath are less than the name with the character after `/`."""
    return name + "0" <= after
