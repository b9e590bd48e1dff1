"""A machine as placement sees it: what it is, what was ordered about it, and what the workloads there hold."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from argosy.model import Machine, Order, blocked_by, with_orders
from argosy.placement.ports import PublishedPorts
from argosy.requirements import Requirements

NANO = 1_000_000_000
"""Billionths: the unit in which CPUs are added up, so that no order of adding and taking away makes a difference."""


class Traits(msgspec.Struct, frozen=True):
    """All of a machine's records that placement goes by. `blocked` names the problems for which its agent wants no new workloads, "" for
    none. `metadata` has the operator's orders laid over the agent's own. `memory` is in bytes."""

    name: str = ""
    metadata: Mapping[str, str] = {}
    cordoned: bool = False
    draining: bool = False
    blocked: str = ""
    cores: int = 0
    memory: int = 0
    kernel: str = ""
    os: str = ""


NO_TRAITS = Traits()
NO_ORDER = Order()


def traits_of(machine: Machine, order: Order | None) -> Traits:
    order = order or NO_ORDER
    facts = machine.facts
    return Traits(
        machine.name,
        with_orders(machine, order).metadata,
        order.cordoned,
        order.draining,
        blocked_by(machine),
        facts.cores,
        facts.memory,
        facts.kernel,
        facts.os,
    )


class Spot:
    """`present`: its agent is alive; a machine that is lost stays known as long as workloads are placed there. `ready`: it takes new ones.

    `units` are the names placed there (a dict for its order and its speed). `memory` (bytes) and `cpus` (billionths) are its capacity,
    of which `memory_reserved` and `cpus_reserved` are taken by the workloads there.
    """

    __slots__ = (
        *("cpus", "cpus_reserved", "draining", "id", "memory", "memory_reserved", "metadata", "ports", "present", "ready", "traits"),
        "units",
    )

    def __init__(self, machine: str) -> None:
        self.id = machine
        self.traits = NO_TRAITS
        self.metadata: Mapping[str, str] = NO_TRAITS.metadata
        self.present = False
        self.ready = False
        self.draining = False
        self.memory = 0
        self.cpus = 0
        self.units: dict[str, None] = {}
        self.memory_reserved = 0
        self.cpus_reserved = 0
        self.ports = PublishedPorts()

    def describe(self, traits: Traits) -> None:
        """Take over what its records say; its agent is alive."""
        self.traits = traits
        self.metadata = traits.metadata
        self.present = True
        self.draining = traits.draining
        self.ready = not (traits.cordoned or traits.draining or traits.blocked)
        self.memory = traits.memory
        self.cpus = traits.cores * NANO

    def hold(self, name: str, wanted: Requirements, sign: int) -> None:
        """Count what a workload holds here (`sign` 1), or no longer holds (-1)."""
        self.memory_reserved += sign * wanted.memory
        self.cpus_reserved += sign * nano(wanted.cpus)
        for port in wanted.ports:
            (self.ports.add if sign > 0 else self.ports.remove)(port, name)

    def label(self, key: str) -> str:
        """Return what a constraint's key stands for: classic Swarm's own labels, else metadata, "" if there is none."""
        match key:
            case "kernelversion":
                return self.traits.kernel
            case "operatingsystem":
                return self.traits.os
            case "ostype":
                return "linux"
        return self.metadata.get(key, "")


def nano(cpus: float) -> int:
    """Return a number of CPUs in billionths."""
    return round(cpus * NANO)
