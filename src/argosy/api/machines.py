"""What the operator does with machines: look at them, cordon, drain, take those orders back."""

from __future__ import annotations

from argosy.api.queries import MACHINE_KINDS, Machines, machine_views, read_machines
from argosy.api.shapes import MachineView, Ordered
from argosy.errors import InvalidInput, NotFound
from argosy.model import Machine
from argosy.state import desired
from argosy.state.cache import Cache
from argosy.state.kinds import PLACEMENTS, STATES


class MachineService:
    """All methods may raise StoreUnavailable."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache

    async def views(self, index: int = 0, wait: float = 0.0, *, brief: bool = False) -> tuple[list[MachineView], int]:
        """Machines alive, by id; with `index` as soon as anything about them has changed since, or `wait` is over. `brief`: without counts
        of units, which do not matter then."""
        if index > 0 and wait > 0:
            kinds = MACHINE_KINDS if brief else (*MACHINE_KINDS, PLACEMENTS, STATES)
            await self.cache.wait(index, [kind.all() for kind in kinds], wait)
        return await machine_views(self.cache, counted=not brief)

    async def find(self, called: str) -> Machine:
        """The machine alive that is called so: by its id, a prefix of it, or its name. Raises NotFound and InvalidInput."""
        found = await read_machines(self.cache)
        machine_id = resolve(called, found)
        if machine_id not in found.machines:
            raise NotFound(f"machine {called} is not alive", remedy="argosy list-machines shows those that are")
        return found.machines[machine_id]

    async def order(self, called: str, *, cordoned: bool, draining: bool) -> Ordered:
        """Changes the orders for a machine (also for one that is away, if it has orders already)."""
        found = await read_machines(self.cache)
        machine_id = resolve(called, found)
        order, revision = await desired.change_order(self.cache.store, machine_id, cordoned=cordoned, draining=draining)
        await self.cache.seen(revision)
        return Ordered(machine_id, order.cordoned, order.draining, revision)

    async def set_metadata(self, machine_id: str, key: str, value: str | None) -> None:
        """Lays a value over the machine's own metadata; None hides it."""
        _, revision = await desired.change_order(self.cache.store, machine_id, metadata={key: value})
        await self.cache.seen(revision)

    async def all(self) -> Machines:
        return await read_machines(self.cache)


def resolve(called: str, found: Machines) -> str:
    """The id of the machine that is meant. Raises NotFound, and InvalidInput if several could be."""
    known = {**dict.fromkeys(found.orders, ""), **{name: machine.name for name, machine in found.machines.items()}}
    if called in known:
        return called
    named = [machine_id for machine_id, name in known.items() if name == called]
    fitting = named or [machine_id for machine_id in known if called and machine_id.startswith(called)]
    if len(fitting) > 1:
        raise InvalidInput(f"{called!r} may mean {', '.join(sorted(fitting))}", remedy="give more of the id")
    if not fitting:
        raise NotFound(f"there is no machine {called!r}", remedy="argosy list-machines shows those that are alive")
    return fitting[0]
