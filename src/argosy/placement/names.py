"""Names in order, so that all that begin alike are found without looking at the others."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator

LONGEST_BLOCK = 1024
"""Names in one block; a longer one is split in two. Adding costs a search over blocks and a move within one."""


class SortedNames:
    """A sorted set of names: adding, removing and finding a prefix cost next to nothing at a million names."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        ordered = sorted(set(names))
        self._blocks = [ordered[at : at + LONGEST_BLOCK // 2] for at in range(0, len(ordered), LONGEST_BLOCK // 2)]
        self._firsts = [block[0] for block in self._blocks]

    def __len__(self) -> int:
        return sum(len(block) for block in self._blocks)

    def __contains__(self, name: str) -> bool:
        at = self._block_of(name)
        if at < 0:
            return False
        block = self._blocks[at]
        where = bisect_left(block, name)
        return where < len(block) and block[where] == name

    def add(self, name: str) -> None:
        """Adding a name that is there changes nothing."""
        if not self._blocks:
            self._blocks, self._firsts = [[name]], [name]
            return
        at = max(0, self._block_of(name))
        block = self._blocks[at]
        where = bisect_left(block, name)
        if where < len(block) and block[where] == name:
            return
        block.insert(where, name)
        if not where:
            self._firsts[at] = name
        if len(block) > LONGEST_BLOCK:
            half = len(block) // 2
            self._blocks[at : at + 1] = [block[:half], block[half:]]
            self._firsts[at : at + 1] = [block[0], block[half]]

    def discard(self, name: str) -> None:
        """Removing a name that is not there changes nothing."""
        at = self._block_of(name)
        if at < 0:
            return
        block = self._blocks[at]
        where = bisect_left(block, name)
        if where == len(block) or block[where] != name:
            return
        del block[where]
        if block:
            self._firsts[at] = block[0]
        else:
            del self._blocks[at], self._firsts[at]

    def starting(self, prefix: str) -> Iterator[str]:
        """The names that begin with `prefix`, in order. The set must not change meanwhile."""
        at = max(0, self._block_of(prefix))
        for block in self._blocks[at:]:
            for name in block[bisect_left(block, prefix) :]:
                if not name.startswith(prefix):
                    return
                yield name

    def _block_of(self, name: str) -> int:
        """The last block that begins at or before the name; -1 if none does."""
        at = bisect_left(self._firsts, name)
        return at if at < len(self._firsts) and self._firsts[at] == name else at - 1
