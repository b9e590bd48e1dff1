"""A small cluster in plain dicts, the rules of placement written down a second time without any index, and operations for hypothesis."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from argosy.engine.actions import Action, Place, Remove
from argosy.engine.world import Snapshot, World
from argosy.model import Facts, Machine, Order, Placement, Target, Unit, UnitState, with_orders
from argosy.placement.jobs import read
from argosy.placement.workloads import unit_workload
from argosy.requirements import Requirements
from argosy.unit.globs import conflict, matches
from argosy.unit.text import unit_text

MACHINES = ("a1", "b2", "c3")

TEXTS = {
    "plain": "[Service]\nExecStart=/bin/a\n",
    "other": "[Service]\nExecStart=/bin/b\n",
    "spread": "[Service]\nExecStart=/bin/a\n[X-Fleet]\nConflicts=web@*.service\n",
    "shy": "[Service]\nExecStart=/bin/a\n[X-Fleet]\nConflicts=*\n",
    "web": "[Service]\nExecStart=/bin/a\n[X-Fleet]\nMachineMetadata=role=web\n",
    "nobody": "[Service]\nExecStart=/bin/a\n[X-Fleet]\nMachineMetadata=role=none\n",
    "pinned": "[Service]\nExecStart=/bin/a\n[X-Fleet]\nMachineID=b2\n",
    "beside1": "[Service]\nExecStart=/bin/a\n[X-Fleet]\nMachineOf=web@1.service\n",
    "beside2": "[Service]\nExecStart=/bin/a\n[X-Fleet]\nMachineOf=web@2.service\n",
    "besidedb": "[Service]\nExecStart=/bin/a\n[X-Fleet]\nMachineOf=db.service\n",
    "global": "[Service]\nExecStart=/bin/a\n[X-Fleet]\nGlobal=true\n",
    "globalweb": "[Service]\nExecStart=/bin/a\n[X-Fleet]\nGlobal=true\nMachineMetadata=role=web\nConflicts=db*\n",
    "rolling": "[Service]\nExecStart=/bin/a\n[X-Fleet]\nGlobal=true\n[X-Argosy]\nUpdate=rolling\n",
    "rolling2": "[Service]\nExecStart=/bin/b\n[X-Fleet]\nGlobal=true\n[X-Argosy]\nUpdate=rolling\n",
    "pushdb": "[Service]\nExecStart=/bin/a\n[X-Fleet]\nReplaces=db*\n",
    "pushweb": "[Service]\nExecStart=/bin/a\n[X-Fleet]\nReplaces=web@*\n",
    "job": "[Service]\nType=oneshot\nExecStart=/bin/a\n",
    "port": "[Container]\nImage=a\nPublishPort=80:80\n",
    "ports": "[Container]\nImage=b\nPublishPort=80-82:80-82\nMemory=1g\n",
    "large": "[Container]\nImage=a\nMemory=2g\n",
    "only": "[Service]\nExecStart=/bin/a\n[X-Argosy]\nOnDisconnect=stop\n",
}
MEMORY = 2 * 2**30
UNITS = ("web@1.service", "web@2.service", "db.service", "job.service", "x.service")


class ClusterModel:
    """What the store holds. Every change is told to `world` as the watches would; `violations` are broken rules, in words."""

    def __init__(self) -> None:
        self.units: dict[str, Unit] = {}
        self.machines: dict[str, Machine] = {}
        self.unreachable: frozenset[str] = frozenset()
        self.orders: dict[str, Order] = {}
        self.placements: dict[tuple[str, str], Placement] = {}
        self.states: dict[tuple[str, str], UnitState] = {}
        self.world = World()
        self.launches = 0
        self.now = 1.0

    def __repr__(self) -> str:
        return repr(self.snapshot())

    def snapshot(self) -> Snapshot:
        return Snapshot(
            {name: unit_workload(unit) for name, unit in self.units.items()},
            dict(self.machines),
            dict(self.orders),
            dict(self.placements),
            dict(self.states),
            self.unreachable,
        )

    @property
    def alive(self) -> dict[str, Machine]:
        """Machines that have a lease and that somebody reaches."""
        return {machine: record for machine, record in self.machines.items() if machine not in self.unreachable}

    # What users, operators and machines do

    def submit(self, name: str, kind: str, target: Target) -> None:
        if read(name, TEXTS[kind]).error:
            return  # the api refuses it: a unit that follows itself
        self.launches += 1
        self.units[name] = Unit(name, TEXTS[kind], target, self.launches)
        self.world.set_workload(name, unit_workload(self.units[name]))

    def destroy(self, name: str) -> None:
        self.units.pop(name, None)
        self.world.set_workload(name, None)

    def up(self, machine: str, metadata: dict[str, str]) -> None:
        self.machines[machine] = Machine(machine, metadata=metadata, facts=Facts(memory=MEMORY))
        self.world.set_machine(machine, self.machines[machine])

    def down(self, machine: str) -> None:
        self.machines.pop(machine, None)
        self.world.set_machine(machine, None)
        for place in [place for place in self.states if place[0] == machine]:
            del self.states[place]
            self.world.set_state(*place, None)

    def reach(self, unreachable: frozenset[str]) -> None:
        """Which machines nobody reaches now, whether their leases stand or not."""
        self.unreachable = unreachable
        self.world.set_unreachable(unreachable)

    def order(self, machine: str, order: Order | None) -> None:
        if order is None:
            self.orders.pop(machine, None)
        else:
            self.orders[machine] = order
        self.world.set_order(machine, order)

    def report(self, machine: str, outcome: str) -> None:
        """The agent does what its placements ask for and reports how that went."""
        if machine not in self.machines:
            return
        for place in [place for place in self.states if place[0] == machine and place not in self.placements]:
            del self.states[place]
            self.world.set_state(*place, None)
        for (where, name), placement in self.placements.items():
            if where == machine and not placement.finished:
                state = _state(placement, outcome)
                self.states[where, name] = state
                self.world.set_state(where, name, state)

    # What the engine does

    def carry_out(self, actions: Sequence[Action]) -> list[str]:
        """Applies actions one by one; returns the rules that one of them breaks."""
        violations: list[str] = []
        for action in actions:
            place = (action.machine, action.unit)
            if isinstance(action, Remove):
                if place not in self.placements:
                    violations.append(f"{action}: it was not there")
                self.placements.pop(place, None)
                continue
            new = place not in self.placements
            if new and type(action) is not Place:
                violations.append(f"{action}: nothing to update")
            if new:
                violations += [f"{action}: {fault}" for fault in self.faults(action.unit, action.machine)]
            self.placements[place] = action.placement
        return violations

    def faults(self, name: str, machine: str) -> list[str]:
        """Rules against placing a unit there now, found without any index."""
        wanted = self.requirements(name)
        found = [text for text in (self._machine_fault(wanted, machine), self._neighbour_fault(name, wanted, machine)) if text]
        if wanted.memory and wanted.memory + self._reserved(machine) > MEMORY:
            found.append("its memory is reserved by others")
        others = [where for where, unit in self.placements if unit == name]
        if not wanted.everywhere and others and (len(others) > 1 or not self._draining(others[0])):
            found.append(f"it is on {others} as well")
        return found

    def standing_faults(self) -> list[str]:
        """Rules that the cluster as a whole breaks now, on machines that are alive."""
        found = []
        for machine, name in self.placements:
            if machine not in self.alive or name not in self.units:
                continue
            fault = self._neighbour_fault(name, read(name, self.placements[machine, name].text).job.requirements, machine)
            if fault:
                found.append(f"{name} on {machine}: {fault}")
        for name in self.units:
            wanted = self.requirements(name)
            places = [machine for machine, unit in self.placements if unit == name]
            silent = wanted.stop_on_disconnect and self.unreachable & self.machines.keys() & {*places}
            if not wanted.everywhere and len(places) > 1 and not silent:  # nothing is done before a silent machine's lease has ended
                draining = [machine for machine in places if self._draining(machine)]
                if len(places) > 2 or not draining:
                    found.append(f"{name} is on {places}, of which {draining} drain")
        return found

    def requirements(self, name: str) -> Requirements:
        unit = self.units.get(name)
        return read(name, unit.text).job.requirements if unit is not None else Requirements()

    def _machine_fault(self, wanted: Requirements, machine: str) -> str:
        if machine not in self.alive:
            return "the machine is lost"
        order = self.orders.get(machine, Order())
        metadata = with_orders(self.machines[machine], order).metadata
        if order.cordoned or order.draining:
            return "the machine is cordoned or draining"
        if wanted.machine_id not in ("", machine):
            return "another machine is required"
        if any(metadata.get(key) not in values for key, values in wanted.metadata):
            return "metadata do not match"
        return ""

    def _neighbour_fault(self, name: str, wanted: Requirements, machine: str) -> str:
        there = [unit for where, unit in self.placements if where == machine and unit != name]
        for peer in wanted.peers:
            if peer not in there:
                return f"its peer {peer} is not there"
        for other in there:
            theirs = read(other, self.placements[machine, other].text).job.requirements
            if conflict(name, wanted.conflicts, other, theirs.conflicts):
                return f"it conflicts with {other}"
            if any(mine.clashes(used) for mine in wanted.ports for used in theirs.ports):
                return f"it publishes a port of {other}"
            if any(matches(glob, name) for glob in theirs.replaces) and other not in self._moved_by(name):
                return f"{other} replaces it"
        return ""

    def _reserved(self, machine: str) -> int:
        there = {name: placement.text for (where, name), placement in self.placements.items() if where == machine}
        return sum(read(name, text).job.requirements.memory for name, text in there.items())

    def _replaces(self, pusher: str, name: str) -> bool:
        return pusher != name and any(matches(glob, name) for glob in self.requirements(pusher).replaces)

    def _moved_by(self, name: str) -> set[str]:
        wanted = [unit for unit in self.units if self.units[unit].target is not Target.INACTIVE]
        moved = {name}
        while True:
            more = {
                unit for unit in wanted for mover in moved if mover in self.requirements(unit).peers or self._replaces(mover, unit)
            } - moved
            if not more:
                return moved
            moved |= more

    def _draining(self, machine: str) -> bool:
        return self.orders.get(machine, Order()).draining


def _state(placement: Placement, outcome: str) -> UnitState:
    base = UnitState(placement.unit, placement.machine, hash=unit_text(placement.text).hash, launch=placement.launch, load="loaded")
    if placement.target is not Target.LAUNCHED:
        return base
    if outcome == "done":
        return msgspec.structs.replace(base, code=0)
    return msgspec.structs.replace(base, active=outcome, result="exit-code" if outcome == "failed" else "success")
