"""Why a unit is where it is, or nowhere: placement's own answer, for every machine."""

from __future__ import annotations

import asyncio

from argosy.api import texts
from argosy.api.overview import Machines, Units, read_machines, read_units
from argosy.api.shapes import Machinelet, WhyAnswer
from argosy.errors import InvalidUnit
from argosy.model import Job, Placement, Target
from argosy.placement.cluster import Cluster
from argosy.placement.place import Refusal, why
from argosy.store.base import Store


async def explain(store: Store, name: str) -> WhyAnswer:
    """For a unit that exists."""
    units, machines = await asyncio.gather(read_units(store), read_machines(store))
    return answer(name, units, machines)


def answer(name: str, units: Units, machines: Machines) -> WhyAnswer:
    unit = units.units[name]
    placed = {placement.machine: placement for placement in units.placements.get(name, ())}
    index = min(units.index, machines.index)
    reading = texts.read(name, unit.text)
    if reading.error:
        return WhyAnswer(name, f"its text is not valid: {reading.error}", index=index)
    if texts.is_template(name):
        return WhyAnswer(name, "it is a template: only its instances run", index=index)
    cluster = as_cluster(units, machines)
    job = Job(name, reading.requirements)
    found = []
    for verdict in why(cluster, job):
        machine = machines.machines.get(verdict.machine)
        filtered = verdict.filter if isinstance(verdict, Refusal) else ""
        placement = placed.get(verdict.machine)
        reason = placement.reason if placement and placement.reason and not filtered else verdict.reason
        found.append(Machinelet(verdict.machine, machine.name if machine else "", placement is not None, filtered, reason))
    return WhyAnswer(name, _summary(unit.target, placed, found), found, index)


def _summary(target: Target, placed: dict[str, Placement], found: list[Machinelet]) -> str:
    if placed:
        return f"it is placed on {', '.join(sorted(placed))}"
    if target is Target.INACTIVE:
        return "nobody asked for it: its target is inactive"
    if not found:
        return "no machine is alive"
    if all(machine.filter for machine in found):
        return "every machine refuses it"
    return "it fits, and is about to be placed: is an engine leading?"


def as_cluster(units: Units, machines: Machines) -> Cluster:
    """What the engine sees, as far as placement goes."""
    cluster = Cluster()
    for name, machine in machines.machines.items():
        order = machines.orders.get(name)
        cordoned, draining = (order.cordoned, order.draining) if order else (False, False)
        cluster.set_machine(name, machine.metadata, cordoned=cordoned, draining=draining)
    for name, unit in units.units.items():
        if unit.target is Target.INACTIVE:
            continue
        try:
            cluster.set_job(Job(name, texts.read(name, unit.text).requirements))
        except InvalidUnit:
            continue  # it stands in nobody's way: the engine does not place it either
    for name, placements in units.placements.items():
        for placement in placements:
            cluster.put(name, placement.machine)
    return cluster
