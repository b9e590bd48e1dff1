"""CPUs: what all workloads on a machine reserve is no more than its cores. Workloads that reserve none always fit."""

from __future__ import annotations

from argosy.model import Job
from argosy.placement.cluster import Cluster
from argosy.placement.filters.base import Depends, Filter
from argosy.placement.spot import NANO, Spot, nano


def _refuses(cluster: Cluster, job: Job, spot: Spot) -> bool:
    wanted = job.requirements.cpus
    return wanted > 0 and spot.cpus_reserved + nano(wanted) > spot.cpus


def _reason(cluster: Cluster, job: Job, spot: Spot) -> str:
    free = max(0, spot.cpus - spot.cpus_reserved) / NANO
    return f"{job.requirements.cpus:g} CPUs are required, {free:g} of {spot.cpus / NANO:g} are not reserved"


FILTER = Filter("CPUs", _refuses, _reason, depends=Depends.OCCUPANTS, field="cpus")
