"""The kinds of workloads: for each, where its desired records are, and how they and their bodies are read.

A further kind is one entry in `KINDS`. Names of workloads are unique over all kinds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from argosy.model import Job, Placement, Unit, Workload
from argosy.placement import jobs
from argosy.placement.jobs import Reading
from argosy.requirements import NOTHING
from argosy.state.kinds import UNITS, RecordKind
from argosy.unit.text import unit_text


class Kind(msgspec.Struct, frozen=True):
    """`records` are the desired ones, by the workload's name.

    `workload` returns what a record wants. `read` returns what a body of this name says and never raises. `hash` returns the hash that
    agents report for a body.
    """

    name: str
    records: RecordKind[Any]
    workload: Callable[[Any], Workload]
    read: Callable[[str, str], Reading]
    hash: Callable[[str], str]


def unit_workload(unit: Unit) -> Workload:
    return Workload(unit.name, unit.text, unit.target, unit.launch)


KINDS = {kind.name: kind for kind in (Kind("unit", UNITS, unit_workload, jobs.read, lambda text: unit_text(text).hash),)}


def read(kind: str, name: str, body: str) -> Reading:
    """Return what the body says to placement and engine; a kind that is not known here is an `error` in it."""
    known = KINDS.get(kind)
    if known is None:
        return Reading(Job(name, NOTHING), error=f"workloads of kind {kind!r} are not known to this version")
    return known.read(name, body)


def placed_job(placement: Placement) -> Job:
    """Return what a workload asks for where it is placed, by the body that it is placed with. One that has finished reserves nothing."""
    job = read(placement.kind, placement.unit, placement.text).job
    wanted = job.requirements
    if not placement.finished or not (wanted.ports or wanted.memory or wanted.cpus):
        return job
    return Job(job.name, msgspec.structs.replace(wanted, ports=(), memory=0, cpus=0.0))


def body_hash(placement: Placement) -> str:
    """Return the hash that the agent reports for what is placed; "" for a kind that is not known here."""
    known = KINDS.get(placement.kind)
    return known.hash(placement.text) if known is not None else ""
