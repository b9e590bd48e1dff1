"""What [X-Fleet] and [X-Argosy] ask of the cluster (see COMPATIBILITY: fleet's options)."""

from __future__ import annotations

import msgspec


class Requirements(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a unit may run. Every field empty: anywhere.

    `metadata` holds a pair for each key: (key, values); one of the values must match (OR), for every key (AND). `peers` are exact unit
    names that must be on the same machine (MachineOf), `conflicts` and `replaces` are globs. `stop_on_disconnect`: [X-Argosy]
    OnDisconnect=stop. `binds_to` are units named by BindsTo, Requires or PartOf in [Unit] (for reasons and ordering, not placement).
    """

    machine_id: str = ""
    metadata: tuple[tuple[str, tuple[str, ...]], ...] = ()
    peers: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    everywhere: bool = False
    stop_on_disconnect: bool = False
    binds_to: tuple[str, ...] = ()
