"""The engine's picture of the cluster, and what has become doubtful in it.

A `World` holds what the store holds, decoded, beside the index that placement searches. Each change marks on the agenda what it may
concern, so that a plan looks at nothing else. Planned actions are applied to it at once: it shows the cluster as it will be when they
are committed.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from argosy.engine.actions import Action, MarkFinished, Place, Remove
from argosy.engine.agenda import Agenda, Item
from argosy.model import Job, Machine, Order, Placement, Target, UnitState, Workload
from argosy.placement.cluster import Cluster
from argosy.placement.filters.base import OTHERS, Depends
from argosy.placement.jobs import Reading
from argosy.placement.place import followers
from argosy.placement.replacing import pushed_by
from argosy.placement.spot import Spot, traits_of
from argosy.placement.strategies import SPREAD, Strategy
from argosy.placement.workloads import placed_job, read
from argosy.unit.globs import matches

ANYTHING = Depends.ANYTHING
NO_PLACES: Mapping[str, Placement] = {}


class Snapshot(msgspec.Struct, frozen=True):
    """All that the engine goes by, as plain values; placements and states by (machine, unit)."""

    workloads: Mapping[str, Workload] = {}
    machines: Mapping[str, Machine] = {}
    orders: Mapping[str, Order] = {}
    placements: Mapping[tuple[str, str], Placement] = {}
    states: Mapping[tuple[str, str], UnitState] = {}
    unreachable: frozenset[str] = frozenset()


def is_current(workload: Workload, placement: Placement) -> bool:
    """The placement says all that is wanted of the workload now."""
    wanted = (workload.body, workload.target, workload.launch, workload.kind)
    return (placement.text, placement.target, placement.launch, placement.kind) == wanted


class World:
    """Workloads, machines with the operator's orders, placements and states (both by unit, then machine), and the agenda.

    `patient`: a machine that is missing may be about to come back; what is placed there stays untouched. `unreachable`: machines that count
    as lost although their lease may stand; units that must never run twice wait for its end. `vacated` are machines that some
    unit which others depend on has left (or where one has changed) in this round: who comes there must not be committed before.
    """

    def __init__(self, *, patient: bool = False, strategy: Strategy = SPREAD) -> None:
        self.workloads: dict[str, Workload] = {}
        self.readings: dict[str, Reading] = {}
        self.unreadable: dict[str, str] = {}
        self.machines: dict[str, Machine] = {}
        self.orders: dict[str, Order] = {}
        self.placements: dict[str, dict[str, Placement]] = {}
        self.states: dict[str, dict[str, UnitState]] = {}
        self.cluster = Cluster(strategy)
        self.agenda = Agenda()
        self.patient = patient
        self.unreachable: frozenset[str] = frozenset()
        self.vacated: set[str] = set()
        self.beside: Mapping[str, bool] = {}
        self._everywhere: set[str] = set()
        self._outdated: dict[str, set[str]] = {}
        self._pushes_doubtful = False
        self._waiting: dict[Depends, set[Item]] = {depends: set() for depends in Depends}

    # What the store says

    def set_workload(self, name: str, workload: Workload | None, *, unreadable: str = "") -> None:
        """A workload was written or (None) destroyed. `unreadable`: the kind of a record that cannot be decoded; what is placed stays as it
        is."""
        self.unreadable.pop(name, None)
        if workload is None:
            self.workloads.pop(name, None)
            if unreadable:
                self.unreadable[name] = unreadable
        elif workload == self.workloads.get(name):
            return
        else:
            self.workloads[name] = workload
        self._read(name)
        if not self.wanted(name) and not unreadable and name not in self.placements:
            self._forget(name)
        else:
            self.touch(name)

    def set_machine(self, machine_id: str, machine: Machine | None) -> None:
        """An agent wrote its record, or (None) its lease has ended."""
        if machine is None:
            if self.machines.pop(machine_id, None) is not None and machine_id in self.unreachable and machine_id in self.cluster.spots:
                self._touch_all_on(self.cluster.spots[machine_id])
        else:
            self.machines[machine_id] = machine
        self._refresh(machine_id)

    def set_order(self, machine_id: str, order: Order | None) -> None:
        if order is None:
            self.orders.pop(machine_id, None)
        else:
            self.orders[machine_id] = order
        self._refresh(machine_id)

    def set_placement(self, machine_id: str, name: str, placement: Placement | None) -> None:
        """A placement as it stands in the store."""
        here = self.placements.get(name, NO_PLACES)
        if here.get(machine_id) == placement:
            return
        if placement is None:
            self._remove(name, machine_id)
        else:
            self._put(placement)
        self.touch(name, machine_id)

    def set_state(self, machine_id: str, name: str, state: UnitState | None) -> None:
        """What an agent reports; concerns the plan only where something waits for it."""
        if state is None:
            here = self.states.get(name)
            if here is None or here.pop(machine_id, None) is None:
                return
            if not here:
                del self.states[name]
        else:
            self.states.setdefault(name, {})[machine_id] = state
        if self._matters(machine_id, name):
            self.touch(name, machine_id)

    def be_patient(self, patient: bool) -> None:
        """Whether missing machines may be about to come back; when not any more, they count as lost."""
        if self.patient and not patient:
            for spot in self.cluster.spots.values():
                if not spot.present:
                    self._touch_all_on(spot)
        self.patient = patient

    def set_unreachable(self, machines: frozenset[str]) -> None:
        """Which machines count as lost whatever their lease says."""
        changed, self.unreachable = self.unreachable ^ machines, machines
        for machine_id in sorted(changed):
            self._refresh(machine_id)

    def names(self, kind: str) -> list[str]:
        """Return the workloads of a kind whose records are known, readable or not."""
        readable = [name for name, workload in self.workloads.items() if workload.kind == kind]
        return readable + [name for name, unreadable in self.unreadable.items() if unreadable == kind]

    # What the plan does

    def begin_round(self) -> None:
        self.vacated.clear()

    def unsettled(self) -> bool:
        """Whether anything is to be decided."""
        if self._pushes_doubtful:
            self._pushes_doubtful = False
            for machine, pattern in self.cluster.pushes():
                for name in self.cluster.spots[machine].units:
                    if matches(pattern, name):
                        self.touch(name, machine)
        return bool(self.agenda)

    def apply(self, action: Action) -> None:
        """An action that will be committed."""
        if isinstance(action, Remove):
            self._remove(action.unit, action.machine)
        else:
            self._put(action.placement)
        if action.ordered and type(action) is not Place:
            self.vacated.add(action.machine)
        if isinstance(action, MarkFinished):
            self._touch_last_on(self.cluster.spots[action.machine])

    def wait(self, name: str, depends: Depends, machine: str = "") -> None:
        """Nothing can be done for it now. Look again when machines change; if it depends on OCCUPANTS also when something leaves a machine,
        if on ANYTHING also when something comes to one."""
        self._waiting[depends].add((name, machine))

    def state(self, name: str, machine_id: str) -> UnitState | None:
        here = self.states.get(name)
        return here.get(machine_id) if here else None

    def may_return(self, machine: str) -> bool:
        """Whether a missing machine may be about to come back, so that what is placed there stays untouched."""
        return self.patient and machine not in self.unreachable

    def wanted(self, name: str) -> bool:
        workload = self.workloads.get(name)
        return workload is not None and workload.target is not Target.INACTIVE

    def set_beside(self, beside: Mapping[str, bool]) -> None:
        """Units whose changes come up beside the old copy, where another machine fits; True: the old copy must not go yet."""
        changed = {name for name in {*beside, *self.beside} if beside.get(name) is not self.beside.get(name)}
        self.beside = dict(beside)
        for name in sorted(changed):
            self.touch(name)

    def leaves(self, name: str, machine: str) -> bool:
        """Whether the unit leaves this machine because a rollout brings it up elsewhere, or one that it follows."""
        if not self.beside:
            return False
        todo, seen = [name], {name}
        while todo:
            each = todo.pop()
            here = self.placements.get(each, NO_PLACES)
            if each in self.beside and machine in here and self._is_old(here[machine]) and (each == name or len(here) > 1):
                return True
            reading = self.readings.get(each)
            peers = [peer for peer in (reading.job.requirements.peers if reading is not None else ()) if peer not in seen]
            seen.update(peers)
            todo += peers
        return False

    def everywhere(self, name: str) -> bool:
        return name in self._everywhere

    def outdated(self, name: str) -> list[str]:
        """Machines that are there and have a global unit as it was wanted before."""
        return [machine for machine in self._outdated.get(name, ()) if self.cluster.spots[machine].present]

    def is_outdated(self, name: str, machine: str) -> bool:
        return machine in self._outdated.get(name, ()) and self.cluster.spots[machine].present

    def is_behind_another(self, name: str, machine: str) -> bool:
        """Whether a machine with a lower id has the global unit as it was wanted before, too."""
        return any(other < machine and self.cluster.spots[other].present for other in self._outdated.get(name, ()))

    def occupied(self, spot: Spot) -> bool:
        """Whether anything is placed there that keeps global units on a draining machine: those leave last."""
        return any(name not in self._everywhere and not self.placements[name][spot.id].finished for name in spot.units)

    def touch(self, name: str, machine: str = "") -> None:
        """Look at this unit again: at a global one machine by machine, and only on this machine if one is given."""
        here = self.placements.get(name, NO_PLACES)
        if name not in self._everywhere:
            self.agenda.add(name, urgent=bool(here))
        else:
            for place in [machine] if machine else self.cluster.spots:
                self.agenda.add(name, place, urgent=place in here)

    # Inside

    def _read(self, name: str) -> None:
        """What the unit asks for now. Where it is placed already it counts as its placement says until that is decided: the others must
        not take for done what is only wanted."""
        workload = self.workloads.get(name)
        if workload is None or workload.target is Target.INACTIVE:
            self._count_as_placed(name)
            self._drop_job(name)
            self._outdated.pop(name, None)
            return
        reading = self.readings[name] = read(workload.kind, name, workload.body)
        self._count_as_placed(name)
        if reading.error:
            self._drop_job(name)
            return
        if reading.job.requirements.everywhere:
            self._everywhere.add(name)
            here = self.placements.get(name, NO_PLACES)
            self._outdated[name] = {machine for machine, placement in here.items() if self._is_old(placement)}
        else:
            self._everywhere.discard(name)
            self._outdated.pop(name, None)
        self._set_job(reading)

    def _is_old(self, placement: Placement) -> bool:
        workload = self.workloads.get(placement.unit)
        return workload is not None and not is_current(workload, placement)

    def _count_as_placed(self, name: str) -> None:
        for machine, placement in self.placements.get(name, NO_PLACES).items():
            self.cluster.put(name, machine, self._placed_as(placement))

    def _placed_as(self, placement: Placement) -> Job | None:
        """What the unit asks for by the text it is placed with; None if that is what it is wanted with."""
        name = placement.unit
        current = self.wanted(name) and self.workloads[name].body == placement.text and not self.readings[name].error
        if current and not placement.finished:
            return None
        job = placed_job(placement)
        return None if current and job.requirements == self.readings[name].job.requirements else job

    def _set_job(self, reading: Reading) -> None:
        old = self.cluster.jobs.get(reading.job.name)
        if self.cluster.set_job(reading.job):
            self._doubt_pushes(old)
            self._doubt_pushes(reading.job)

    def _drop_job(self, name: str) -> None:
        self._doubt_pushes(self.cluster.jobs.get(name))
        self.cluster.drop_job(name)

    def _doubt_pushes(self, job: Job | None) -> None:
        """Whether a push may come back depends on units that may be far from it: those that move others."""
        if job is not None and (job.requirements.replaces or (job.requirements.peers and job.name in self.cluster.followers)):
            self._pushes_doubtful = True

    def _forget(self, name: str) -> None:
        self._drop_job(name)
        self.readings.pop(name, None)
        self._everywhere.discard(name)
        self._outdated.pop(name, None)

    def _put(self, placement: Placement) -> None:
        name, machine = placement.unit, placement.machine
        here = self.placements.get(name)
        if here is None:
            here = self.placements[name] = {}
        old = here.get(machine)
        here[machine] = placement
        if name in self._outdated:
            (self._outdated[name].add if self._is_old(placement) else self._outdated[name].discard)(machine)
        if old is None or old.text != placement.text or old.finished != placement.finished:
            self.cluster.put(name, machine, self._placed_as(placement))
        if old is not None and (old.text != placement.text or placement.finished):
            self._touch_waiting(*OTHERS)
        if old is None:
            self._touch_waiting(ANYTHING)
            for follower in followers(self.cluster, name):
                self.touch(follower)
        for pushed in pushed_by(self.cluster, name, machine):
            self.touch(pushed, machine)

    def _remove(self, name: str, machine: str) -> None:
        here = self.placements.get(name)
        if here is None or here.pop(machine, None) is None:
            return
        if not here:
            del self.placements[name]
        self._outdated.get(name, set()).discard(machine)
        spot = self.cluster.spots[machine]
        self.cluster.take(name, machine)
        for follower in followers(self.cluster, name):
            self.touch(follower)
        reading = self.readings.get(name)
        for leader in reading.job.requirements.peers if reading is not None else ():
            if len(self.placements.get(leader, NO_PLACES)) > 1:
                self.touch(leader)
        self._touch_waiting(*OTHERS)
        self._touch_last_on(spot)
        if not here and not self.wanted(name):
            self._forget(name)

    def _refresh(self, machine_id: str) -> None:
        """Brings the index up to date with a machine; marks what it concerns if anything changed that placement looks at."""
        machine = self.machines.get(machine_id) if machine_id not in self.unreachable else None
        spot = self.cluster.spots.get(machine_id)
        if machine is None:
            if spot is None or not spot.present:
                return
            self._touch_all_on(spot)
            self.cluster.lose_machine(machine_id)
            return
        traits = traits_of(machine, self.orders.get(machine_id))
        if spot is not None and spot.present and spot.traits == traits:
            return
        self.cluster.set_machine(machine_id, traits)
        spot = self.cluster.spots[machine_id]
        self._touch_all_on(spot)
        for name in self._everywhere:
            self.touch(name, machine_id)
        if spot.ready:
            self._touch_waiting(*Depends)

    def _matters(self, machine_id: str, name: str) -> bool:
        """Whether the plan may depend on what this unit's agent reports there."""
        if any((name, "") in items for items in self._waiting.values()):
            return True
        here = self.placements.get(name)
        placement = here.get(machine_id) if here else None
        if placement is None or here is None or placement.finished:
            return False
        if len(here) > 1 or self.cluster.spots[machine_id].draining:
            return True
        reading = self.readings.get(name)
        return reading is not None and reading.ends

    def _touch_all_on(self, spot: Spot) -> None:
        for name in spot.units:
            self.touch(name, spot.id)

    def _touch_last_on(self, spot: Spot) -> None:
        """Global units leave a draining machine when nothing else is left there."""
        if spot.draining and not self.occupied(spot):
            self._touch_all_on(spot)

    def _touch_waiting(self, *reasons: Depends) -> None:
        for depends in reasons:
            if not self._waiting[depends]:
                continue
            for name, machine in self._waiting[depends]:
                self.touch(name, machine)
            self._waiting[depends].clear()


def world_of(snapshot: Snapshot, *, patient: bool = False) -> World:
    """Everything in it is on the agenda."""
    world = World(patient=patient)
    world.set_unreachable(snapshot.unreachable)
    for machine_id, order in snapshot.orders.items():
        world.set_order(machine_id, order)
    for machine_id, machine in snapshot.machines.items():
        world.set_machine(machine_id, machine)
    for name, workload in snapshot.workloads.items():
        world.set_workload(name, workload)
    for (machine_id, name), placement in snapshot.placements.items():
        world.set_placement(machine_id, name, placement)
    for (machine_id, name), state in snapshot.states.items():
        world.set_state(machine_id, name, state)
    return world
