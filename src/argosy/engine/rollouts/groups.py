"""What is changed together, and what must be healthy again before the next is touched. Decides and touches nothing.

A group is a unit that is to be changed, with those to be changed that follow it (its sidekick, if that has a new text as well). Beside them
stand its followers: all that is bound to them or runs where they do, and the routes that their texts announce.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

import msgspec

from argosy.model import Target, Workload
from argosy.unit.specifiers import expand_name
from argosy.unit.text import unit_text

_ROUTE = re.compile(r"/services/web/([A-Za-z0-9][A-Za-z0-9._-]*)/([A-Za-z0-9@._:+=-]+)")
_NUMBER = re.compile(r"(\d+)")

Route = tuple[str, str]
"""An app and the name of one of its instances."""


class Reading(msgspec.Struct, frozen=True):
    """What a unit's text says to a rolling change. `bound`: it is stopped and started with these; `beside`: it runs where these do."""

    bound: frozenset[str] = frozenset()
    beside: frozenset[str] = frozenset()
    oneshot: bool = False
    routes: tuple[Route, ...] = ()


Readings = Mapping[str, Reading]


class Group(msgspec.Struct, frozen=True):
    """Named after its first unit. `bound`: for each follower, whom it is stopped and started with."""

    name: str
    units: tuple[str, ...]
    followers: tuple[str, ...] = ()
    bound: Mapping[str, frozenset[str]] = {}
    oneshots: frozenset[str] = frozenset()
    routes: tuple[Route, ...] = ()


def read(name: str, text: str) -> Reading:
    """Never raises: a text that breaks rules says nothing."""
    found = unit_text(text)
    if found.refusal(name) is not None:
        return Reading()
    wanted = found.requirements(name)
    routes = tuple(dict.fromkeys(_ROUTE.findall(expand_name(text, name)))) if "/services/web/" in text else ()
    return Reading(frozenset(wanted.binds_to), frozenset(wanted.peers), found.oneshot, routes)


def grouped(wanted: Sequence[str], units: Mapping[str, Workload], texts: Mapping[str, str]) -> list[Group]:
    """Return the units in `wanted` in groups, in the order of their numbers. `units`: all workloads; `texts`: new texts."""
    readings = read_all(wanted, units, texts)
    leaders = {name: _leader(name, frozenset(wanted), readings) for name in wanted}
    groups = []
    for leader in sorted({*leaders.values()}, key=numbered):
        members = tuple(sorted((name for name in wanted if leaders[name] == leader), key=lambda name: (name != leader, numbered(name))))
        groups.append(of_units(leader, members, frozenset(wanted), readings))
    return groups


def read_all(wanted: Collection[str], units: Mapping[str, Workload], texts: Mapping[str, str]) -> Readings:
    """Return what the texts say of the launched units that may be in a group: those in `wanted`, and those that follow any unit."""
    readings = {}
    for name, unit in units.items():
        if unit.target is Target.LAUNCHED and (name in wanted or "BindsTo" in unit.body or "MachineOf" in unit.body):
            readings[name] = read(name, texts.get(name, unit.body))
    return readings


def numbered(name: str) -> list[tuple[int, str]]:
    """For sorting: web@2 comes before web@10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in _NUMBER.split(name)]


def _leader(name: str, wanted: frozenset[str], readings: Readings) -> str:
    """The unit that this one follows, and the one that that one follows, as far as they are to be changed."""
    seen = {name}
    while True:
        reading = readings.get(name, Reading())
        following = sorted((reading.bound | reading.beside) & wanted - seen, key=numbered)
        if not following:
            return name
        name = following[0]
        seen.add(name)


def of_units(leader: str, units: tuple[str, ...], wanted: frozenset[str], readings: Readings) -> Group:
    """Return the group of these units. Followers that are in `wanted` have a group of their own."""
    members = {*units}
    followers: list[str] = []
    added = True
    while added:
        added = False
        for name, reading in readings.items():
            if name not in members and name not in wanted and (reading.bound | reading.beside) & members:
                members.add(name)
                followers.append(name)
                added = True
    return Group(
        leader,
        units,
        tuple(sorted(followers, key=numbered)),
        {name: readings[name].bound for name in followers},
        frozenset(name for name in members if name in readings and readings[name].oneshot),
        tuple(sorted({route for name in members if name in readings for route in readings[name].routes})),
    )
