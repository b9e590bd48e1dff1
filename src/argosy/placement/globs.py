"""Which patterns of names touch which workloads, kept so that a conflict is found without looking at every workload."""

from __future__ import annotations

from typing import Protocol


class Syntax(Protocol):
    """How patterns are read: argosy.unit.globs, or argosy.placement.expressions."""

    def matches(self, pattern: str, name: str) -> bool: ...
    def is_literal(self, pattern: str) -> bool: ...
    def literal_prefix(self, pattern: str) -> str: ...


class Glob:
    """One pattern, and whom it concerns.

    `conflicting` and `replacing` name the known workloads that hold it in Conflicts= (or an affinity) and in Replaces=. By machine id:
    `matched` counts the placed workloads whose name it matches, `held` names the placed ones that hold it in Conflicts=, `pushing` those
    that hold it in Replaces=.
    """

    __slots__ = ("conflicting", "held", "matched", "pattern", "prefix", "pushing", "replacing")

    def __init__(self, pattern: str, prefix: str) -> None:
        self.pattern = pattern
        self.prefix = prefix
        self.conflicting: set[str] = set()
        self.replacing: set[str] = set()
        self.matched: dict[str, int] = {}
        self.held: dict[str, set[str]] = {}
        self.pushing: dict[str, set[str]] = {}

    def match(self, machine: str, change: int) -> None:
        """One unit more (change 1) or less (-1) on the machine that the pattern matches."""
        count = self.matched.get(machine, 0) + change
        if count:
            self.matched[machine] = count
        else:
            self.matched.pop(machine, None)


class Globs:
    """All patterns of one syntax that known workloads hold, found by pattern or by the names that they match."""

    def __init__(self, syntax: Syntax) -> None:
        self._syntax = syntax
        self.patterns: dict[str, Glob] = {}
        self._literal: dict[str, Glob] = {}
        self._wild: dict[str, list[Glob]] = {}
        self._lengths: dict[int, int] = {}
        self._asked: tuple[str, tuple[Glob, ...]] = ("", ())

    def get(self, pattern: str) -> Glob | None:
        return self.patterns.get(pattern)

    def pushing(self) -> list[Glob]:
        """The patterns that placed units hold in Replaces=."""
        return [glob for glob in self.patterns.values() if glob.pushing]

    def matching(self, name: str) -> tuple[Glob, ...]:
        """The patterns that match the name, in order."""
        if self._asked[0] == name:
            return self._asked[1]
        if not self.patterns:
            return ()
        literal = self._literal.get(name)
        found = [] if literal is None else [literal]
        for length in self._lengths:
            same = self._wild.get(name[:length], ())
            found += [glob for glob in same if len(glob.prefix) == length and self._syntax.matches(glob.pattern, name)]
        if len(found) > 1:
            found.sort(key=_pattern)
        answer = tuple(found)
        self._asked = (name, answer)
        return answer

    def add(self, pattern: str) -> Glob:
        """Makes a (well-formed) pattern known; the caller fills in whom it concerns."""
        glob = self.patterns[pattern] = Glob(pattern, self._syntax.literal_prefix(pattern))
        if self._syntax.is_literal(pattern):
            self._literal[pattern] = glob
        else:
            length = len(glob.prefix)
            self._wild.setdefault(glob.prefix, []).append(glob)
            self._lengths[length] = self._lengths.get(length, 0) + 1
        self._asked = ("", ())
        return glob

    def discard(self, glob: Glob) -> None:
        """Forgets a pattern that no unit holds any more."""
        del self.patterns[glob.pattern]
        self._asked = ("", ())
        if self._literal.get(glob.pattern) is glob:
            del self._literal[glob.pattern]
            return
        same = self._wild[glob.prefix]
        same.remove(glob)
        if not same:
            del self._wild[glob.prefix]
        length = len(glob.prefix)
        self._lengths[length] -= 1
        if not self._lengths[length]:
            del self._lengths[length]


def _pattern(glob: Glob) -> str:
    return glob.pattern
