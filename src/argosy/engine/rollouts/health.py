"""Whether a group is healthy again: its units in their newest launch, what is bound to them, and the routes. Decides and touches
nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from argosy.engine.rollouts.groups import Group, Route
from argosy.engine.rollouts.plan import Health, Verdict
from argosy.engine.steps import same
from argosy.engine.world import NO_PLACES, World
from argosy.launches import is_overtaken
from argosy.model import Placement, Target, UnitState, Workload
from argosy.unit.text import unit_text
from argosy.verdict import Phase, at_rest, ended, ending, is_active, is_failing, is_given_up, judge

READY = Health(Verdict.READY)

Runs = Mapping[str, Mapping[str, str]]
"""unit → machine → the invocation that is active there."""


class Served(msgspec.Struct, frozen=True):
    """What the router of one machine serves, of the apps that were asked for. `error`: why its newest configuration is not served, or
    why it could not be asked. `partial`: it cannot tell all."""

    machine: str
    routes: frozenset[Route] = frozenset()
    error: str = ""
    partial: bool = False


class Scene(msgspec.Struct, frozen=True):
    """The cluster as it is at one moment."""

    world: World
    routers: Sequence[Served] = ()


class Asked(msgspec.Struct, frozen=True):
    """What a group was last told: the launch that each of its units must come to, the hash of the text it was given ("": it was not given
    any). `before`: which runs of its followers were active then, for those are over. `nowhere`: units that no living machine had taken, and
    that need not come to run. `routes`: those of its routes that some router served."""

    launches: Mapping[str, int] = {}
    hashes: Mapping[str, str] = {}
    before: Runs = {}
    nowhere: frozenset[str] = frozenset()
    routes: frozenset[Route] = frozenset()


def asked_now(group: Group, scene: Scene, launches: Mapping[str, int], hashes: Mapping[str, str]) -> Asked:
    """What a group is told at this moment. `scene` is as it was seen before."""
    before = {name: runs for name in group.followers if (runs := _active(scene.world, name))}
    nowhere = frozenset(name for name in group.units if not _living(scene.world, name))
    return Asked(launches, hashes, before, nowhere, frozenset(group.routes) & _served(scene))


def health(group: Group, asked: Asked, scene: Scene) -> Health:
    """Of several reasons the first that counts: a unit, a follower, a route."""
    found = [_unit(name, group, asked, scene.world) for name in group.units]
    failed = next((one for one in found if one.verdict is Verdict.FAILED), None)
    old = any(one.old for one in found)
    if failed is not None:
        return msgspec.structs.replace(failed, old=old)
    waiting = [one.text for one in found if one.verdict is Verdict.WAITING]
    waiting += [text for name in group.followers if (text := _follower(name, group, asked, scene.world))]
    waiting += [text for route in group.routes if (text := _route(route, asked, scene))]
    runs = tuple(run for one in found for run in one.runs)
    done = sum(one.done for one in found)
    return Health(Verdict.WAITING if waiting else Verdict.READY, waiting[0] if waiting else "", runs, done, old)


def legend(world: World, machine: str) -> str:
    """A machine in words: `85c0c595.../172.17.8.102`."""
    found = world.machines.get(machine)
    short = f"{machine[:8]}..."
    return f"{short}/{found.address}" if found is not None and found.address else short


def _unit(name: str, group: Group, asked: Asked, world: World) -> Health:
    unit = world.workloads.get(name)
    if unit is None:
        return Health(Verdict.FAILED, f"{name} was destroyed meanwhile")
    digest = unit_text(unit.body).hash
    if asked.hashes.get(name, digest) != digest:
        return Health(Verdict.FAILED, f"{name} was given another text meanwhile")
    if unit.target is not Target.LAUNCHED or is_overtaken(unit.launch, asked.launches.get(name, unit.launch)):
        told = f"Unit {name} was told something else meanwhile: its target is {unit.target.value}"
        return READY if unit.target is not Target.LAUNCHED and name not in asked.launches else Health(Verdict.FAILED, told)
    living = _living(world, name)
    if not living:
        return Health(Verdict.READY if name in asked.nowhere else Verdict.WAITING, f"no living machine has {name}")
    here = {machine: placement for machine, placement in living.items() if same(unit, placement)}
    behind = sorted(living.keys() - here.keys())
    found = [_on(unit, digest, placement, world, oneshot=name in group.oneshots) for placement in here.values()]
    runs = tuple(run for machine in here if (run := _run(unit, machine, world)))
    done = sum(one.verdict is Verdict.READY for one in found)
    waiting = next((one for one in found if one.verdict is not Verdict.READY), None)
    failed = next((one for one in found if one.verdict is Verdict.FAILED), None)
    if failed is None and (not here or (behind and world.everywhere(name))):
        waiting = waiting or Health(Verdict.WAITING, f"waiting for {legend(world, behind[0])} to take the new text of {name}")
    worst = failed or waiting or READY
    return Health(worst.verdict, worst.text, runs, done, bool(here and behind) and not world.everywhere(name))


def _on(unit: Workload, digest: str, placement: Placement, world: World, *, oneshot: bool) -> Health:
    """How the unit does on one machine that has been told of it."""
    if placement.finished:
        return READY
    state = world.state(unit.name, placement.machine)
    where = legend(world, placement.machine)
    phase = judge(state, unit.launch, digest)
    if state is None or phase is Phase.PENDING:
        return Health(Verdict.WAITING, f"waiting for {where} to start it")
    match phase:
        case Phase.RUNNING:
            return READY
        case Phase.REFUSED:
            text = f"Unit {unit.name} cannot be started on {where}: {state.note or state.load}"
            return Health(Verdict.FAILED, text) if is_given_up(state) else Health(Verdict.WAITING, f"{text}; it is tried again")
        case Phase.FAILED:
            return Health(Verdict.FAILED, f"Unit {unit.name} failed on {where}: {ending(state)}")
        case Phase.ENDED:  # a service that does not run any more, though it ended well, serves nobody
            return READY if oneshot else Health(Verdict.FAILED, f"Unit {unit.name} {ended(state)} on {where}")
    note = f": {state.note}" if state.note else ""
    return Health(Verdict.WAITING, f"{state.active} ({state.sub}) on {where}{note}")


def _living(world: World, name: str) -> dict[str, Placement]:
    """The unit's places on machines that are alive."""
    here = world.placements.get(name, NO_PLACES)
    return {machine: here[machine] for machine in sorted(here) if machine in world.machines and machine not in world.unreachable}


def _follower(name: str, group: Group, asked: Asked, world: World) -> str:
    """What is waited for; "" if it is as it should be. One that had ended by itself before need not run again."""
    unit = world.workloads.get(name)
    if unit is None or unit.target is not Target.LAUNCHED or name in group.oneshots:
        return ""
    before = asked.before.get(name, {})
    living = _living(world, name)
    if before and not living:
        return f"no living machine has {name}"
    for machine in living:
        state = world.state(name, machine)
        where = legend(world, machine)
        if state is None:
            return f"waiting for {where} to start {name}"
        if is_active(state):
            along = before.get(machine) == state.invocation
            if along and _restarted(name, machine, group, asked, world, frozenset()):
                return f"{name} has not been restarted on {where} yet"
        elif not at_rest(state) or is_failing(state) or before:
            return f"{name} is {state.active} ({state.sub}) on {where}{_why(state)}"
    return ""


def _why(state: UnitState) -> str:
    return f": {ending(state)}" if state.result != "success" else f": {state.note}" if state.note else ""


def _restarted(name: str, machine: str, group: Group, asked: Asked, world: World, seen: frozenset[str]) -> bool:
    """Whether one that it is bound to was told to start anew on that machine, and it with it. Where a new copy comes up elsewhere, nothing
    is restarted where the old one is."""
    for leader in group.bound.get(name, frozenset()) - seen:
        unit, here = world.workloads.get(leader), world.placements.get(leader, NO_PLACES).get(machine)
        if unit is None or here is None or world.state(leader, machine) is None:
            continue
        if (leader in asked.launches and same(unit, here)) or _restarted(leader, machine, group, asked, world, seen | {name}):
            return True
    return False


def _route(route: Route, asked: Asked, scene: Scene) -> str:
    """What is waited for; "" if all routers serve it, or none was ever asked to: those of an app that some router serves, and those that
    were served before."""
    app, instance = route
    if route not in asked.routes and all(served[0] != app for served in _served(scene)):
        return ""
    for router in scene.routers:
        if route not in router.routes and not router.partial:
            stuck = f": {router.error}" if router.error else ""
            return f"{app}/{instance} is not served yet by the router of {legend(scene.world, router.machine)}{stuck}"
    return ""


def _served(scene: Scene) -> frozenset[Route]:
    return frozenset(route for router in scene.routers for route in router.routes)


def _active(world: World, name: str) -> dict[str, str]:
    states = world.states.get(name, {})
    return {machine: state.invocation for machine, state in states.items() if is_active(state)}


def _run(unit: Workload, machine: str, world: World) -> tuple[str, ...]:
    """One run of the unit, told from any other; () where none is active."""
    state = world.state(unit.name, machine)
    if state is None or not is_active(state):
        return ()
    return (unit.name, machine, str(state.launch), state.invocation)
