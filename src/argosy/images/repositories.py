"""Which repositories there are, and which tags they have, a page at a time."""

from __future__ import annotations

from argosy.images.storage import Storage


class Repositories:
    def __init__(self, storage: Storage) -> None: ...

    async def exists(self, repository: str) -> bool:
        """A repository exists while it holds anything."""

    async def tags(self, repository: str, after: str = "", limit: int = 0) -> list[str]:
        """Sorted by code point, those greater than `after`, at most `limit` unless that is 0."""

    async def names(self, after: str = "", limit: int = 0) -> list[str]:
        """The same for the repositories of the registry that hold a manifest."""
