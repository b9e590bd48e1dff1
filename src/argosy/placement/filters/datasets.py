"""Datasets: one machine holds a dataset, so workloads that use the same one run there together. It is about what is new."""

from __future__ import annotations

from collections.abc import Collection

from argosy.model import Job
from argosy.placement.cluster import SHORT_ID, Cluster
from argosy.placement.filters.base import Filter, nobody
from argosy.placement.spot import Spot


def _candidates(cluster: Cluster, job: Job) -> Collection[str] | None:
    used = [holders for holders in (cluster.holders(dataset, job.name) for dataset in job.requirements.datasets) if holders]
    return min(used, key=len, default=None)


def _elsewhere(cluster: Cluster, job: Job, spot: Spot, dataset: str) -> str:
    """Return a machine other than this one where other workloads use the dataset, "" if there is none."""
    return min((machine for machine in cluster.holders(dataset, job.name) if machine != spot.id), default="")


def _refuses(cluster: Cluster, job: Job, spot: Spot) -> bool:
    return any(_elsewhere(cluster, job, spot, dataset) for dataset in job.requirements.datasets)


def _reason(cluster: Cluster, job: Job, spot: Spot) -> str:
    found = ((dataset, _elsewhere(cluster, job, spot, dataset)) for dataset in job.requirements.datasets)
    dataset, machine = next((dataset, machine) for dataset, machine in found if machine)
    return f"dataset {dataset} is in use on {machine[:SHORT_ID]}"


FILTER = Filter("Datasets", _refuses, _reason, field="datasets", candidates=_candidates, followers=nobody)
