"""Whether a group is healthy again: its units in their newest launch, what is bound to them, and the routes. Decides and touches
nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from argosy.cli.cluster import Reported, View, places, reported_on, states
from argosy.cli.outcome import Machines, legend, started
from argosy.cli.rolling.groups import Group, Route
from argosy.cli.rolling.plan import Health, Verdict
from argosy.verdict import Phase, ended, ending, judge

READY = Health(Verdict.READY)

Runs = Mapping[str, Mapping[str, str]]
"""unit → machine → the invocation that is active there."""


class Scene(msgspec.Struct, frozen=True):
    """The cluster as it was seen at one moment."""

    units: Mapping[str, View]
    routers: Sequence[View] = ()
    machines: Machines = {}


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
    before = {name: _active(scene.units[name]) for name in group.followers if name in scene.units}
    nowhere = frozenset(name for name in group.units if name in scene.units and not _places(scene.units[name], scene))
    return Asked(launches, hashes, before, nowhere, frozenset(group.routes) & _served(scene))


def health(group: Group, asked: Asked, scene: Scene) -> Health:
    """Of several reasons the first that counts: a unit, a follower, a route."""
    waiting: list[str] = []
    done = 0
    for name in group.units:
        found = _unit(name, group, asked, scene)
        if found.verdict is Verdict.FAILED:
            return found
        done += found.done
        if found.verdict is Verdict.WAITING:
            waiting.append(found.text)
    waiting += [text for name in group.followers if (text := _follower(name, group, asked, scene))]
    waiting += [text for route in group.routes if (text := _route(route, asked, scene))]
    runs = tuple(run for name in group.units if name in scene.units for run in _processes(scene.units[name]))
    return Health(Verdict.WAITING if waiting else Verdict.READY, waiting[0] if waiting else "", runs, done)


def _unit(name: str, group: Group, asked: Asked, scene: Scene) -> Health:
    unit = scene.units.get(name)
    if unit is None:
        return Health(Verdict.FAILED, f"{name} was destroyed meanwhile")
    if asked.hashes.get(name, unit.get("hash")) != unit.get("hash"):
        return Health(Verdict.FAILED, f"{name} was given another text meanwhile")
    if unit["target"] != "launched":
        return READY if name not in asked.launches else Health(Verdict.FAILED, f"{name} was told something else meanwhile")
    launch = asked.launches.get(name, unit.get("launch", 0))
    living = _places(unit, scene)
    if not living:
        text = f"no living machine has {name}"
        return Health(Verdict.READY if name in asked.nowhere else Verdict.WAITING, text)
    behind = [place for place in living if unit.get("everywhere") and _behind(unit, place["machine"])]
    here = [place for place in living if place not in behind]
    outcome = started({**unit, "places": here}, launch, scene.machines)
    if outcome.done and not outcome.good:
        return Health(Verdict.FAILED, outcome.text)
    ended = "" if name in group.oneshots else _ended(unit, here, scene.machines)
    if ended:
        return Health(Verdict.FAILED, ended)
    count = sum(_runs(unit, place["machine"], launch) for place in here)
    if behind:
        where = legend(scene.machines.get(behind[0]["machine"]), behind[0]["machine"])
        return Health(Verdict.WAITING, f"waiting for {where} to take the new text of {name}", done=count)
    return Health(Verdict.READY if outcome.done else Verdict.WAITING, outcome.text, done=count)


def _places(unit: View, scene: Scene) -> list[View]:
    """On machines that are alive."""
    return [place for place in places(unit) if place["machine"] in scene.machines]


def _ended(unit: View, living: Sequence[View], machines: Machines) -> str:
    """A service that ran and does not run any more, though it ended well, serves nobody."""
    for place in living:
        state = reported_on(unit, place["machine"])
        if state is not None and not place.get("finished") and judge(state, unit.get("launch", 0)) is Phase.ENDED:
            return f"Unit {unit['name']} {ended(state)} on {legend(machines.get(place['machine']), place['machine'])}"
    return ""


def _behind(unit: View, machine: str) -> bool:
    """Whether the machine still has a unit that is everywhere by another text."""
    state = reported_on(unit, machine)
    return state is not None and state.hash != unit.get("hash", "")


def _runs(unit: View, machine: str, launch: int) -> bool:
    return judge(reported_on(unit, machine), launch) is Phase.RUNNING


def _follower(name: str, group: Group, asked: Asked, scene: Scene) -> str:
    """What is waited for; "" if it is as it should be. One that had ended by itself before need not run again."""
    unit = scene.units.get(name)
    if unit is None or unit["target"] != "launched" or name in group.oneshots:
        return ""
    before = asked.before.get(name, {})
    living = _places(unit, scene)
    if before and not living:
        return f"no living machine has {name}"
    for place in living:
        state = reported_on(unit, place["machine"])
        where = legend(scene.machines.get(place["machine"]), place["machine"])
        if state is None:
            return f"waiting for {where} to start {name}"
        if state.active == "active":
            along = before.get(place["machine"]) == state.invocation
            if along and _restarted(name, place["machine"], group, asked, scene, frozenset()):
                return f"{name} has not been restarted on {where} yet"
        elif state.active != "inactive" or state.result != "success" or state.failures or before:
            return f"{name} is {state.active} ({state.sub}) on {where}{_why(state)}"
    return ""


def _why(state: Reported) -> str:
    return f": {ending(state)}" if state.result != "success" else f": {state.note}" if state.note else ""


def _restarted(name: str, machine: str, group: Group, asked: Asked, scene: Scene, seen: frozenset[str]) -> bool:
    """Whether one that it is bound to was told to start anew on that machine, and it with it."""
    for leader in group.bound.get(name, frozenset()) - seen:
        here = leader in scene.units and reported_on(scene.units[leader], machine) is not None
        if here and (leader in asked.launches or _restarted(leader, machine, group, asked, scene, seen | {name})):
            return True
    return False


def _route(route: Route, asked: Asked, scene: Scene) -> str:
    """What is waited for; "" if all routers serve it, or none was ever asked to: those of an app that some router serves, and those that
    were served before."""
    app, instance = route
    if route not in asked.routes and all(served[0] != app for served in _served(scene)):
        return ""
    for router in scene.routers:
        missing = all((up["app"], up["instance"]) != route for up in router.get("upstreams", []))
        if missing and not router.get("omitted"):
            where = legend(scene.machines.get(router["machine"]), router["machine"])
            stuck = f", whose last change failed: {router['error']}" if router.get("error") else ""
            return f"{app}/{instance} is not served yet by the router of {where}{stuck}"
    return ""


def _served(scene: Scene) -> frozenset[Route]:
    return frozenset((up["app"], up["instance"]) for router in scene.routers for up in router.get("upstreams", []))


def _active(unit: View) -> dict[str, str]:
    return {state["machine"]: state.get("invocation", "") for state in states(unit) if state.get("active") == "active"}


def _processes(unit: View) -> list[tuple[str, ...]]:
    return [
        (unit["name"], state["machine"], str(state.get("launch", 0)), state.get("invocation", ""))
        for state in states(unit)
        if state.get("active") == "active"
    ]
