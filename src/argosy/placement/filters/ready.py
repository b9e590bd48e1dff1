"""Nothing new is placed on a machine that is lost, draining, cordoned, or that reports a problem which forbids it."""

from __future__ import annotations

from argosy.model import Job
from argosy.placement.cluster import Cluster
from argosy.placement.filters.base import Depends, Filter
from argosy.placement.spot import Spot


def _refuses(cluster: Cluster, job: Job, spot: Spot) -> bool:
    return not spot.ready


def reason(cluster: Cluster, job: Job, spot: Spot) -> str:
    if not spot.present:
        return "the machine is lost: its agent has not been heard of for longer than its lease"
    if spot.traits.draining:
        return "the machine is draining"
    if spot.traits.cordoned:
        return "the machine is cordoned"
    return f"the machine takes no new units: {spot.traits.blocked}"


FILTER = Filter("ready", _refuses, reason, depends=Depends.MACHINE)
