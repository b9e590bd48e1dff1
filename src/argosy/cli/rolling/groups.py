"""What is changed together, and what must be healthy again before the next is touched. Decides and touches nothing.

A group is a unit that is to be changed, with those to be changed that follow it (its sidekick, if that has a new text as well). Beside them
stand its followers: all that is bound to them or runs where they do, and the routes that their texts announce.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from argosy.cli.cluster import View
from argosy.errors import InvalidUnit
from argosy.unit.options import is_oneshot, requirements
from argosy.unit.parse import parse
from argosy.unit.specifiers import expand_name

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
    try:
        file = parse(text)
        wanted = requirements(name, file)
    except InvalidUnit:
        return Reading()
    routes = tuple(dict.fromkeys(_ROUTE.findall(expand_name(text, name)))) if "/services/web/" in text else ()
    return Reading(frozenset(wanted.binds_to), frozenset(wanted.peers), is_oneshot(file), routes)


def grouped(wanted: Sequence[str], known: Mapping[str, View], texts: Mapping[str, str]) -> list[Group]:
    """The units in `wanted`, in groups, in the order of their numbers. `known` are all units as the API shows them, with their texts;
    `texts` are new ones."""
    readings = {name: read(name, texts.get(name, unit.get("text", ""))) for name, unit in known.items() if unit["target"] == "launched"}
    leaders = {name: _leader(name, frozenset(wanted), readings) for name in wanted}
    groups = []
    for leader in sorted({*leaders.values()}, key=numbered):
        units = tuple(sorted((name for name in wanted if leaders[name] == leader), key=lambda name: (name != leader, numbered(name))))
        groups.append(_group(leader, units, frozenset(wanted), readings))
    return groups


def numbered(name: str) -> list[tuple[int, str]]:
    """For sorting: web@2 comes before web@10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in _NUMBER.split(name)]


def _leader(name: str, wanted: frozenset[str], readings: Mapping[str, Reading]) -> str:
    """The unit that this one follows, and the one that that one follows, as far as they are to be changed."""
    seen = {name}
    while True:
        reading = readings.get(name, Reading())
        following = sorted((reading.bound | reading.beside) & wanted - seen, key=numbered)
        if not following:
            return name
        name = following[0]
        seen.add(name)


def _group(leader: str, units: tuple[str, ...], wanted: frozenset[str], readings: Mapping[str, Reading]) -> Group:
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
