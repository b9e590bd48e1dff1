"""Clusters for tests, written as literals."""

from __future__ import annotations

from collections.abc import Mapping

from argosy.model import Job
from argosy.placement.cluster import Cluster
from argosy.placement.spot import Traits
from argosy.requirements import Requirements

Units = Mapping[str, tuple[Requirements, str]]
"""By name: what the unit asks for, and the machines where it is placed, separated by blanks."""


def cluster(machines: Mapping[str, Mapping[str, str]] | str, units: Units | None = None) -> Cluster:
    """`machines`: metadata by id, or ids separated by blanks. An id that ends in `!` is cordoned, in `~` draining, in `?` lost, in `*`
    reports a problem that forbids new units."""
    made = Cluster()
    given = {name: {} for name in machines.split()} if isinstance(machines, str) else machines
    for name, metadata in given.items():
        blocked = "systemd is away" if name.endswith("*") else ""
        traits = Traits(metadata=metadata, cordoned=name.endswith("!"), draining=name.endswith("~"), blocked=blocked)
        made.set_machine(name.rstrip("!~?*"), traits)
    for name, (wanted, places) in (units or {}).items():
        made.set_job(Job(name, wanted))
        for place in places.split():
            made.put(name, place)
    for name in given:
        if name.endswith("?"):
            made.lose_machine(name[:-1])
    return made


def wants(**fields: object) -> Requirements:
    return Requirements(**fields)  # type: ignore[arg-type]
