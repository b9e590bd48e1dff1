"""Published ports: no workload here publishes a port that this one publishes, on the same address or on all."""

from __future__ import annotations

from argosy.model import Job
from argosy.placement.cluster import Cluster
from argosy.placement.filters.base import Depends, Filter
from argosy.placement.spot import Spot


def _refuses(cluster: Cluster, job: Job, spot: Spot) -> bool:
    return any(spot.ports.holder(port, job.name) for port in job.requirements.ports)


def _reason(cluster: Cluster, job: Job, spot: Spot) -> str:
    holders = ((port, spot.ports.holder(port, job.name)) for port in job.requirements.ports)
    port, holder = next((port, holder) for port, holder in holders if holder)
    return f"port {port} is published here by Unit({holder})"


FILTER = Filter("Ports", _refuses, _reason, staying=True, depends=Depends.OCCUPANTS, field="ports")
