"""What Prometheus may ask of an entry."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge

from argosy.router.entry.plan import Backend, Pool

REGISTRY = CollectorRegistry()

UP = Gauge("argosy_entry_machine_up", "Whether a machine answers its health checks.", ["pool", "machine"], registry=REGISTRY)
USED = Gauge("argosy_entry_machines_used", "Machines that a pool sends to.", ["pool"], registry=REGISTRY)
FAILED = Counter("argosy_entry_failed_checks_total", "Health checks that failed.", ["pool", "machine"], registry=REGISTRY)
CHANGES = Counter("argosy_entry_changes_total", "Configurations given to nginx.", ["result"], registry=REGISTRY)


def show(backends: Sequence[Backend], up: Collection[Backend], pools: Sequence[Pool]) -> None:
    """Machines that are gone are forgotten."""
    UP.clear()
    for backend in backends:
        UP.labels(backend.pool, backend.name).set(backend in up)
    for pool in pools:
        USED.labels(pool.name).set(len(pool.servers))
