"""What the operator does with machines: look at them, cordon, drain, take those orders back."""

from __future__ import annotations

from argosy.api.overview import BRIEF_PREFIXES, MACHINE_PREFIXES, Machines, machine_views, read_machines
from argosy.api.shapes import MachineView, Ordered
from argosy.errors import InvalidInput, NotFound
from argosy.model import Machine
from argosy.reconcile import Clock
from argosy.state import desired
from argosy.store.base import Store
from argosy.web import blocking


class MachineService:
    """All methods may raise StoreUnavailable."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self.clock = clock

    async def views(self, index: int = 0, wait: float = 0.0, *, brief: bool = False) -> tuple[list[MachineView], int]:
        """Machines alive, by id; with `index` as soon as anything about them has changed since, or `wait` is over. `brief`: without counts
        of units, which do not matter then."""
        if index > 0 and wait > 0:
            await blocking.beyond(self.store, BRIEF_PREFIXES if brief else MACHINE_PREFIXES, index, wait, self.clock)
        return await machine_views(self.store, counted=not brief)

    async def find(self, called: str) -> Machine:
        """The machine alive that is called so: by its id, a prefix of it, or its name. Raises NotFound and InvalidInput."""
        found = await read_machines(self.store)
        machine_id = resolve(called, found)
        if machine_id not in found.machines:
            raise NotFound(f"machine {called} is not alive", remedy="argosy list-machines shows those that are")
        return found.machines[machine_id]

    async def order(self, called: str, *, cordoned: bool, draining: bool) -> Ordered:
        """Changes the orders for a machine (also for one that is away, if it has orders already)."""
        found = await read_machines(self.store)
        machine_id = resolve(called, found)
        order = await desired.change_order(self.store, machine_id, cordoned=cordoned, draining=draining)
        after = await read_machines(self.store)
        return Ordered(machine_id, order.cordoned, order.draining, after.index)

    async def set_metadata(self, machine_id: str, key: str, value: str | None) -> None:
        """Lays a value over the machine's own metadata; None hides it."""
        await desired.change_order(self.store, machine_id, metadata={key: value})

    async def all(self) -> Machines:
        return await read_machines(self.store)


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
