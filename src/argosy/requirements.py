"""What a workload asks of the machine it runs on: the values that unit files and containers are read into, and placement decides by."""

from __future__ import annotations

import msgspec


class Port(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Ports of the host, `first` to `last` inclusive, that a workload publishes. `address` "" means every address of the machine."""

    first: int
    last: int
    protocol: str = "tcp"
    address: str = ""

    def __str__(self) -> str:
        span = str(self.first) if self.first == self.last else f"{self.first}-{self.last}"
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{address}{':' if address else ''}{span}/{self.protocol}"

    def clashes(self, other: Port) -> bool:
        """Return whether one machine cannot publish both."""
        return (
            self.protocol == other.protocol
            and self.first <= other.last
            and other.first <= self.last
            and (not self.address or not other.address or self.address == other.address)
        )


class Expression(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A constraint or affinity in the form of classic Swarm: `key` == `pattern`, or != where `negated`.

    `pattern` is a glob in which `*` stands for any text, or a regular expression between slashes, which may match anywhere. `soft`: a
    machine that meets it is preferred, and one that does not is taken if there is no other.
    """

    key: str
    pattern: str
    negated: bool = False
    soft: bool = False

    def __str__(self) -> str:
        return f"{self.key}{'!=' if self.negated else '=='}{'~' if self.soft else ''}{self.pattern}"


class Requirements(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Where a workload may run. Every field empty: anywhere.

    `metadata` holds a pair for each key: (key, values); one of the values must match (OR), for every key (AND). `peers` are exact names
    of workloads that must be on the same machine (MachineOf), `conflicts` and `replaces` are globs of names. `stop_on_disconnect`:
    [X-Argosy] OnDisconnect=stop. `binds_to` are units named by BindsTo, Requires or PartOf in [Unit] (for reasons and ordering, not
    placement). `rolling`: [X-Argosy] Update=rolling, a change of a global unit goes from machine to machine. `writes_keys`: [X-Argosy]
    Keys=write, it may write users' keys on its machine.

    `ports` are published on the host. `memory` (bytes) and `cpus` (a number of cores) are reserved on the machine; 0 reserves nothing.
    `constraints` are about the machine, `affinities` about the workloads on it. `datasets` are held by one machine each.
    """

    machine_id: str = ""
    metadata: tuple[tuple[str, tuple[str, ...]], ...] = ()
    peers: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    everywhere: bool = False
    stop_on_disconnect: bool = False
    binds_to: tuple[str, ...] = ()
    rolling: bool = False
    writes_keys: bool = False
    ports: tuple[Port, ...] = ()
    memory: int = 0
    cpus: float = 0.0
    constraints: tuple[Expression, ...] = ()
    affinities: tuple[Expression, ...] = ()
    datasets: tuple[str, ...] = ()


NOTHING = Requirements()
