"""What the api asks of the agent on its own machine. The agent's runtime satisfies this as it is; nothing is imported from there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol, TypeVar

import msgspec

T = TypeVar("T")


class Inspector(Protocol):
    """Raises NotFound for a unit that is not loaded here and RuntimeFailed when whatever runs units cannot be reached."""

    async def detail(self, name: str) -> Any:
        """A value with the fields of shapes.Detail."""

    def logs(self, name: str, lines: int, follow: bool) -> AsyncIterator[Any]:
        """Values with the fields of shapes.LogLine, oldest first: the last `lines`, with `follow` then every new one."""


def mirrored(kind: type[T], value: Any) -> T:
    """A value of another room as this room's struct of the same fields."""
    return msgspec.convert(msgspec.to_builtins(value), kind)
