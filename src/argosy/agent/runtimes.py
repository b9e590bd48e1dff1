"""The runtimes of one machine, by the kind of workload that each runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from argosy.agent.containers import Containers
from argosy.agent.plan import Command, Kill, Load, Start, Stop, Unload
from argosy.agent.runtime import Runtime
from argosy.errors import RuntimeFailed
from argosy.model import UNIT, Observed, Placement


class Runtimes:
    """`table`: kind → Runtime; what units run under is always there. `containers` makes services of Quadlet files."""

    def __init__(self, table: Mapping[str, Runtime], containers: Containers | None = None) -> None:
        self._table = dict(table)
        self._containers = containers or Containers("auto", self.units.kind)

    def __iter__(self) -> Iterator[str]:
        """The kinds, that of units first."""
        return iter(sorted(self._table, key=lambda kind: (kind != UNIT, kind)))

    def __getitem__(self, kind: str) -> Runtime:
        return self._table[kind]

    @property
    def units(self) -> Runtime:
        return self._table[UNIT]

    async def observe(self, kind: str, names: Iterable[str] | None = None) -> dict[str, Observed]:
        """What is loaded of a kind (of it, `names`). Raises RuntimeFailed."""
        found = await self._table[kind].units(names)
        return found if kind == UNIT else {name: msgspec.structs.replace(seen, kind=kind) for name, seen in found.items()}

    async def apply(self, actions: Sequence[Command], placements: Mapping[str, Placement]) -> dict[str, str]:
        """Carry out actions of one type and one kind in one call; returns which units were refused, and why. Raises RuntimeFailed if the
        runtime cannot be used at all."""
        runtime = self._table.get(actions[0].kind)
        if runtime is None:
            why = f"this machine has no runtime for workloads of kind {actions[0].kind!r}"
            return {action.unit: why for action in actions}
        try:
            match actions:
                case [Load(), *_]:
                    return await self._load(runtime, [action for action in actions if isinstance(action, Load)], placements)
                case [Start(), *_]:
                    await runtime.start([(action.unit, action.launch) for action in actions if isinstance(action, Start)])
                case [Stop(), *_]:
                    await runtime.stop([action.unit for action in actions])
                case [Kill(), *_]:
                    await runtime.kill([action.unit for action in actions])
                case [Unload(), *_]:
                    await runtime.unload([action.unit for action in actions])
        except RuntimeFailed as error:
            if not error.refused:
                raise
            return dict(error.refused)
        return {}

    async def _load(self, runtime: Runtime, actions: Sequence[Load], placements: Mapping[str, Placement]) -> dict[str, str]:
        texts, refused = [(action.unit, action.text) for action in actions], dict[str, str]()
        if runtime is self.units:
            texts, refused = await self._containers.services(texts, _Texts(placements))
        try:
            if texts:
                await runtime.load(texts)
        except RuntimeFailed as error:
            if not error.refused:
                raise
            refused |= error.refused
        return refused


class _Texts(Mapping[str, str]):
    """The texts of all units that are placed here, as they are asked for."""

    def __init__(self, placements: Mapping[str, Placement]) -> None:
        self._placements = placements

    def __getitem__(self, name: str) -> str:
        placement = self._placements[name]
        if placement.kind != UNIT:
            raise KeyError(name)
        return placement.text

    def __iter__(self) -> Iterator[str]:
        return (name for name, placement in self._placements.items() if placement.kind == UNIT)

    def __len__(self) -> int:
        return sum(1 for _ in self)
