"""Constraints: expressions over the machine's id and name (`node`), facts and metadata, as in classic Swarm.

They are about what is new: a machine whose metadata change keeps what it has.
"""

from __future__ import annotations

from argosy.model import Job
from argosy.placement.cluster import SHORT_ID, Cluster
from argosy.placement.expressions import matches
from argosy.placement.filters.base import Depends, Filter
from argosy.placement.spot import Spot
from argosy.requirements import Expression


def _met(wanted: Expression, spot: Spot) -> bool:
    if wanted.key == "node":
        found = any(matches(wanted.pattern, text) for text in (spot.id, spot.id[:SHORT_ID], spot.traits.name))
    else:
        found = matches(wanted.pattern, spot.label(wanted.key))
    return found != wanted.negated


def _refuses(cluster: Cluster, job: Job, spot: Spot) -> bool:
    return not all(_met(wanted, spot) for wanted in job.requirements.constraints)


def _reason(cluster: Cluster, job: Job, spot: Spot) -> str:
    missed = next(wanted for wanted in job.requirements.constraints if not _met(wanted, spot))
    if missed.key == "node":
        return f"constraint {missed} is not met: the machine is {spot.traits.name or spot.id}"
    label = spot.label(missed.key)
    has = f"has {missed.key}={label}" if label else f"has no {missed.key}"
    return f"constraint {missed} is not met: the machine {has}"


FILTER = Filter("Constraints", _refuses, _reason, depends=Depends.MACHINE, field="constraints")
