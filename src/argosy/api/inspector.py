"""What the api asks of the agent and of the router on its own machine. They satisfy this as they are; nothing is imported from there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from typing import Any, Protocol, TypeVar

import msgspec

from argosy.model import RouterDetail

T = TypeVar("T")


class Inspector(Protocol):
    """Raises NotFound for a unit that is not loaded here and RuntimeFailed when whatever runs units cannot be reached."""

    async def detail(self, name: str) -> Any:
        """A value with the fields of shapes.Detail."""

    def logs(self, name: str, lines: int, follow: bool) -> AsyncIterator[Any]:
        """Values with the fields of shapes.LogLine, oldest first: the last `lines`, with `follow` then every new one."""


class RouterInspector(Protocol):
    async def detail(self, apps: Collection[str]) -> RouterDetail:
        """What this machine's router serves now; with `apps` only what concerns these."""


def mirrored(kind: type[T], value: Any) -> T:
    """A value of another room as this room's struct of the same fields."""
    return msgspec.convert(msgspec.to_builtins(value), kind)
