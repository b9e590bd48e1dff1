"""Figures for Prometheus: what the cluster looks like from here, and what was asked of this machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client import Counter as Metric

from argosy.api.queries import Machines, Units
from argosy.model import RouterReport, Target


class Metrics:
    """One registry per api: nothing is shared between two in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Metric("argosy_requests", "Requests answered, by door and status", ("door", "status"), registry=self.registry)
        self._answered: dict[tuple[str, int], Metric] = {}
        self._refused = Metric("argosy_tls_refused", "Connections refused for their certificate", registry=self.registry)
        self._store = Gauge("argosy_store_up", "1 while the store answers", registry=self.registry)
        self._leader = Gauge("argosy_leader", "1 on the machine whose engine decides", registry=self.registry)
        self._machines = Gauge("argosy_machines", "Machines alive", registry=self.registry)
        self._units = Gauge("argosy_units", "Units by what is wanted and what they came to", ("target", "current"), registry=self.registry)
        self._states = Gauge("argosy_unit_states", "Units on machines by systemd's active state", ("active",), registry=self.registry)
        self._routes = Gauge("argosy_router_upstreams", "Upstreams served by each machine's router", ("machine",), registry=self.registry)
        self._bad = Gauge("argosy_router_refused_routes", "Routes refused by each machine's router", ("machine",), registry=self.registry)

    def counted(self, door: str, status: int) -> None:
        counter = self._answered.get((door, status))
        if counter is None:
            counter = self._answered[door, status] = self._requests.labels(door, str(status))
        counter.inc()

    def refused(self) -> None:
        self._refused.inc()

    def store_away(self) -> None:
        self._store.set(0)

    def seen(self, machine_id: str, units: Units, machines: Machines, routers: Iterable[RouterReport]) -> None:
        """Sets what is known of the cluster now."""
        self._store.set(1)
        self._leader.set(machines.leader is not None and machines.leader.machine == machine_id)
        self._machines.set(len(machines.machines))
        self._units.clear()
        for target in Target:
            self._units.labels(target.value, Target.INACTIVE.value)
        for (target, current), count in Counter((unit.target, units.current(name)) for name, unit in units.units.items()).items():
            self._units.labels(target.value, current.value).set(count)
        self._states.clear()
        for active, count in Counter(state.active for state in units.all_states).items():
            self._states.labels(active).set(count)
        self._routes.clear()
        self._bad.clear()
        for report in routers:
            self._routes.labels(report.machine).set(report.routes)
            self._bad.labels(report.machine).set(report.refusing)

    def text(self) -> bytes:
        return generate_latest(self.registry)
