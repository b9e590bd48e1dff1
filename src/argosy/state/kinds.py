"""Record kinds: the type of the records under each prefix, what they are looked up by, and which watch brings them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from argosy.model import (
    Entry,
    Leader,
    Machine,
    Order,
    Placement,
    Probes,
    Rollout,
    RolloutProgress,
    RouterReport,
    Silence,
    Unit,
    UnitState,
)
from argosy.state import keys

T = TypeVar("T")

CLUSTER = ""
"""The watch of the whole store: what it brings is complete up to one revision, over all prefixes."""


class RecordKind(Generic[T]):
    """Records of one type under one prefix. Each of `indexes` gives, for a key without the prefix and its record, the value to look it up
    by. `watch` is the prefix of the watch that brings them, which kinds with the same one share."""

    def __init__(self, prefix: str, type: type[T], watch: str, indexes: Mapping[str, Callable[[str, T], str]] | None = None) -> None:
        self.prefix = prefix
        self.type = type
        self.watch = watch
        self.indexes = indexes or {}

    def all(self) -> Topic:
        """Any change of any record."""
        return Topic(self, "", "")

    def key(self, key: str) -> Topic:
        """Changes of the record with this key (without the prefix)."""
        return Topic(self, KEY, key)

    def where(self, index: str, value: str) -> Topic:
        """Changes of the records that the index has under this value."""
        return Topic(self, index, value)


KEY = "key"


class Topic(NamedTuple):
    """What a client can wait for: changes of the records of a kind, of all or of those found under `value`."""

    kind: RecordKind[Any]
    by: str
    value: str


def _machine(key: str, record: object) -> str:
    return key.partition("/")[0]


def _unit(key: str, record: object) -> str:
    return key.partition("/")[2]


UNIT, MACHINE = "unit", "machine"
"""Indexes of placements and states."""

UNITS = RecordKind(keys.UNITS, Unit, CLUSTER)
MACHINES = RecordKind(keys.MACHINES, Machine, CLUSTER)
ORDERS = RecordKind(keys.ORDERS, Order, CLUSTER)
PLACEMENTS = RecordKind(keys.PLACEMENTS, Placement, CLUSTER, {UNIT: _unit, MACHINE: _machine})
STATES = RecordKind(keys.STATES, UnitState, CLUSTER, {UNIT: _unit, MACHINE: _machine})
ROUTERS = RecordKind(keys.ROUTERS, RouterReport, CLUSTER)
LEADER = RecordKind(keys.ENGINE_LEADER, Leader, CLUSTER)
ROLLOUTS = RecordKind(keys.ROLLOUTS, Rollout, CLUSTER)
ROLLOUT_PROGRESS = RecordKind(keys.ROLLOUT_PROGRESS, RolloutProgress, CLUSTER)
SILENCES = RecordKind(keys.SILENCES, Silence, keys.SILENCES)
LEADER_ALONE = RecordKind(keys.ENGINE_LEADER, Leader, keys.ENGINE_LEADER)
"""For engines that stand for election: they follow nothing else of the cluster."""
WEB = RecordKind(keys.WEB, Entry, keys.WEB)
STANDALONE_ROUTERS = RecordKind(keys.STANDALONE_ROUTERS, Entry, keys.STANDALONE_ROUTERS)


def placements_on(machine_id: str) -> RecordKind[Placement]:
    """The placements of one machine, by unit: all that its agent follows of the cluster."""
    return RecordKind(keys.placements_on(machine_id), Placement, keys.placements_on(machine_id))


def probes_of(machine_id: str) -> RecordKind[Probes]:
    """The record, under the key "", that names the machines which this one probes."""
    return RecordKind(keys.probes(machine_id), Probes, keys.probes(machine_id))
