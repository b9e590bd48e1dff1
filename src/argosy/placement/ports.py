"""The host's ports that are published on one machine, kept so that a clash is found without looking at every workload."""

from __future__ import annotations

from collections.abc import Iterator

from argosy.requirements import Port


class PublishedPorts:
    """Who publishes what on a machine: single ports by their number, ranges (which are rare) in a list."""

    __slots__ = ("_ranges", "_single")

    def __init__(self) -> None:
        self._single: dict[tuple[str, int], list[tuple[Port, str]]] = {}
        self._ranges: list[tuple[Port, str]] = []

    def __bool__(self) -> bool:
        return bool(self._single or self._ranges)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublishedPorts) and sorted(self) == sorted(other)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Yield (port, workload) for each port in use."""
        for holders in (*self._single.values(), self._ranges):
            for port, name in holders:
                yield str(port), name

    def add(self, port: Port, name: str) -> None:
        if port.first == port.last:
            self._single.setdefault((port.protocol, port.first), []).append((port, name))
        else:
            self._ranges.append((port, name))

    def remove(self, port: Port, name: str) -> None:
        if port.first != port.last:
            self._ranges.remove((port, name))
            return
        key = (port.protocol, port.first)
        holders = self._single[key]
        holders.remove((port, name))
        if not holders:
            del self._single[key]

    def holder(self, port: Port, name: str) -> str:
        """Return a workload other than `name` with which the port clashes (the first by name), "" if there is none."""
        found: list[tuple[Port, str]] = list(self._ranges)
        if port.first == port.last:
            found += self._single.get((port.protocol, port.first), ())
        else:
            for holders in self._single.values():
                found += holders
        return min((other for published, other in found if other != name and port.clashes(published)), default="")
