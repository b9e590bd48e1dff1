"""Global=: such a workload has a place on every machine, any other only one in the cluster; a machine holds no second copy of either."""

from __future__ import annotations

from argosy.model import Job
from argosy.placement.cluster import Cluster
from argosy.placement.filters.base import Depends, Filter
from argosy.placement.spot import Spot


def _question(cluster: Cluster, job: Job) -> str | None:
    return job.name if job.name in cluster.where else None


def _refuses(cluster: Cluster, job: Job, spot: Spot) -> bool:
    return job.name in spot.units


def _reason(cluster: Cluster, job: Job, spot: Spot) -> str:
    return "it is placed here already"


FILTER = Filter("Global", _refuses, _reason, depends=Depends.ITSELF, question=_question)
