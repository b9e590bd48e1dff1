"""What a unit asks of the cluster: [X-Fleet] (as fleet reads it) and [X-Argosy], and what a Quadlet container reserves."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import msgspec

from argosy.errors import InvalidUnit
from argosy.requirements import NOTHING, Requirements
from argosy.unit.globs import check_glob, matches
from argosy.unit.names import LONGEST_NAME, shortened, shown
from argosy.unit.parse import UnitFile
from argosy.unit.quadlet import reservations
from argosy.unit.quadlet.names import referred
from argosy.unit.quadlet.reading import joined_containers, kind_of, references
from argosy.unit.specifiers import expand_fleet, unit_names
from argosy.unit.values import RESTARTS, TYPES, TYPES_NOT_HONOURED, boolean

FLEET_KEYS = (
    "MachineID",
    "X-ConditionMachineID",
    "X-ConditionMachineBootID",
    "MachineOf",
    "X-ConditionMachineOf",
    "MachineMetadata",
    "X-ConditionMachineMetadata",
    "Conflicts",
    "X-Conflicts",
    "Global",
    "Replaces",
)
MOST_VALUES = 256
"""Values that one key of [X-Fleet] may have: every pair of them is compared when a unit is read, and again with every other unit."""

ARGOSY_KEYS = ("OnDisconnect", "Update", "Keys")
BINDING_KEYS = ("BindsTo", "BindTo", "Requires", "PartOf")

_TRUE = frozenset({"true", "yes", "1", "on", "t"})

RESOURCES = ("Volume", "Network")
"""Quadlet's kinds whose units are wanted on every machine, as a container may come to any, unless [X-Fleet] says where."""
PLACED_BY = ("MachineID", "X-ConditionMachineID", "X-ConditionMachineBootID", "MachineOf", "X-ConditionMachineOf", "Global", "Replaces")


def requirements(name: str, file: UnitFile) -> Requirements:
    """What this unit asks for, with specifiers replaced. Raises InvalidUnit for unknown keys, combinations that fleet refuses (in fleet's
    words), malformed globs, a unit that must run beside itself and a PublishPort= that is none."""
    fleet: dict[str, list[str]] = {}
    argosy: dict[str, str] = {}
    binds: list[str] = []
    kind = kind_of(file)
    for option in file.options:
        section = option.section
        if section == "X-Fleet":
            _collect(fleet, option.name, option.joined)
        elif section == "X-Argosy":
            argosy[option.name] = option.joined
        elif section == "Unit" and option.name in BINDING_KEYS:
            value = " ".join(referred(word, name) for word in option.joined.split()) if kind else option.joined
            binds += unit_names(value, name)
    if not (fleet or argosy or binds or kind):
        return NOTHING
    if kind in RESOURCES and not any(key in fleet for key in PLACED_BY):
        fleet["Global"] = ["yes"]
    if kind:
        binds += [referred(reference, name) for reference in references(file)]
        fleet.setdefault("MachineOf", []).extend(joined_containers(name, file))
    wanted = _fleet_requirements(fleet, name) if fleet else NOTHING
    choices = _choices(argosy)
    return msgspec.structs.replace(
        wanted,
        stop_on_disconnect=choices["OnDisconnect"] == "stop",
        rolling=choices["Update"] == "rolling",
        writes_keys=choices["Keys"] == "write",
        binds_to=tuple(dict.fromkeys(binds)),
        **_reserved(name, file) if kind == "Container" else {},
    )


def _reserved(name: str, file: UnitFile) -> dict[str, Any]:
    return {
        "ports": reservations.ports(name, file),
        "memory": reservations.memory(name, file),
        "cpus": reservations.cpus(name, file),
    }


def fleet_values(value: str) -> list[str]:
    """A line of [X-Fleet] that begins and ends with a double quote holds several quoted values; any other line is one."""
    if not (value.startswith('"') and value.endswith('"')):
        return [value]
    values: list[str] = []
    parts: list[str] = []
    for index, stretch in enumerate(value.split('"')):
        if index % 2 == 0 and " " in stretch:
            first, *between, last = stretch.split(" ")
            values += ["".join([*parts, first]), *between]
            parts = [last]
        else:
            parts.append(stretch)
    return [value for value in [*values, "".join(parts)] if value]


def metadata_pair(value: str) -> tuple[str, str] | None:
    """`key=value`; None, so that it is ignored as fleet ignores it, unless it is exactly two parts and neither is empty."""
    parts = value.split("=")
    return (parts[0], parts[1]) if len(parts) == 2 and parts[0] and parts[1] else None


def restart_setting(file: UnitFile) -> str | None:
    """What Restart= says, None where the file does not say. Making a volume or a network is tried again if it fails."""
    return _choice(file, "Restart", RESTARTS) or ("on-failure" if kind_of(file) in RESOURCES else None)


def is_oneshot(file: UnitFile) -> bool:
    """Type=oneshot; also a service that has no ExecStart= and says no Type=. Volumes and networks are made by one."""
    kind = _choice(file, "Type", TYPES + TYPES_NOT_HONOURED)
    if kind_of(file) and not kind:
        return kind_of(file) in RESOURCES
    return kind == "oneshot" if kind else file.has_section("Service") and not file.values("Service", "ExecStart")


def remains_after_exit(file: UnitFile) -> bool:
    found = kind_of(file) in RESOURCES
    for value in file.assignments("Service", "RemainAfterExit"):
        with suppress(ValueError):
            found = boolean(value)
    return found


def _choice(file: UnitFile, name: str, words: tuple[str, ...]) -> str | None:
    """The last assignment that is one of the words: systemd ignores any other."""
    return next((value for value in reversed(file.assignments("Service", name)) if value in words), None)


def _collect(fleet: dict[str, list[str]], key: str, value: str) -> None:
    if key not in FLEET_KEYS:
        raise InvalidUnit(f"unrecognized requirement in [X-Fleet] section: {json.dumps(key, ensure_ascii=False)}")
    if not value:
        fleet[key] = []
    elif key in fleet:
        fleet[key] += fleet_values(value)
    else:
        fleet[key] = fleet_values(value)


def _fleet_requirements(fleet: dict[str, list[str]], name: str) -> Requirements:
    def of(*keys: str) -> list[str]:
        return [value for key in keys for value in fleet.get(key, ())]

    machines = of("MachineID", "X-ConditionMachineID", "X-ConditionMachineBootID")
    peers = of("X-ConditionMachineOf", "MachineOf")
    conflicts = [glob for value in of("X-Conflicts", "Conflicts") for glob in value.split()]
    replaces = of("Replaces")
    switch = of("Global")
    everywhere = bool(switch) and expand_fleet(switch[-1], name).lower() in _TRUE
    _check_combination(bool(machines), peers, conflicts, replaces, everywhere)
    wanted = Requirements(
        machine_id=expand_fleet(machines[0], name) if machines else "",
        metadata=_metadata([expand_fleet(value, name) for value in of("X-ConditionMachineMetadata", "MachineMetadata")]),
        peers=tuple([expand_fleet(peer, name) for peer in peers]),
        conflicts=tuple([expand_fleet(glob, name) for glob in conflicts]),
        replaces=tuple([expand_fleet(glob, name) for glob in replaces]),
        everywhere=everywhere,
    )
    _check_peers(wanted.peers, wanted.conflicts, wanted.replaces)
    if name in wanted.peers:
        raise InvalidUnit(f"MachineOf={name} in {name} itself: a unit cannot follow itself", remedy="name the unit it shall run beside")
    return wanted


def _metadata(values: list[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    pairs: dict[str, dict[str, None]] = {}
    for value in values:
        pair = metadata_pair(value)
        if pair:
            pairs.setdefault(pair[0], {})[pair[1]] = None
    return tuple([(key, tuple(accepted)) for key, accepted in pairs.items()])


def _check_combination(machine: bool, peers: list[str], conflicts: list[str], replaces: list[str], everywhere: bool) -> None:
    """fleet's rules in fleet's order and words; clients show them as they are."""
    for key, values in (("MachineOf", peers), ("Conflicts", conflicts), ("Replaces", replaces)):
        if len(values) > MOST_VALUES:
            raise InvalidUnit(f"{key}= in [X-Fleet] has {len(values)} values; the most is {MOST_VALUES}", remedy="use a glob")
        longest = max(map(len, values), default=0)
        if longest > LONGEST_NAME:
            raise InvalidUnit(f"{key}= in [X-Fleet] has a value of {longest} characters; a unit name has at most {LONGEST_NAME}")
    for glob in (*conflicts, *replaces):
        check_glob(glob)
    _check_peers(peers, conflicts, replaces)
    refused = (
        (machine and peers, "MachineID cannot be used with Peers"),
        (machine and conflicts, "MachineID cannot be used with Conflicts"),
        (machine and everywhere, "MachineID cannot be used with Global"),
        (machine and replaces, "MachineID cannot be used with Replaces"),
        (everywhere and peers, "Global cannot be used with Peers"),
        (everywhere and replaces, "Global cannot be used with Replaces"),
        (conflicts and replaces, "Conflicts cannot be used with Replaces"),
    )
    for holds, message in refused:
        if holds:
            raise InvalidUnit(message)


def _check_peers(peers: list[str] | tuple[str, ...], conflicts: list[str] | tuple[str, ...], replaces: list[str] | tuple[str, ...]) -> None:
    for peer in peers:
        for kind, globs in (("conflict", conflicts), ("replace", replaces)):
            for glob in globs:
                if matches(glob, peer):
                    shown, against = json.dumps(peer, ensure_ascii=False), json.dumps(glob, ensure_ascii=False)
                    raise InvalidUnit(f"unresolvable requirements: peer {shown} matches {kind} {against}")


def _choices(argosy: dict[str, str]) -> dict[str, str]:
    """What [X-Argosy] says, each of its options; "" where it says nothing."""
    for key in argosy:
        if key not in ARGOSY_KEYS:
            raise InvalidUnit(f"unknown key {shown(key)} in [X-Argosy]", remedy=f"it knows {', '.join(ARGOSY_KEYS)}")
    for key, words in (("OnDisconnect", ("stop", "keep")), ("Update", ("rolling", "together")), ("Keys", ("write", "read"))):
        choice = argosy.get(key, "")
        if choice and choice not in words:
            raise InvalidUnit(f"{key}={shortened(choice)} in [X-Argosy] is neither {words[0]} nor {words[1]}")
    return {key: argosy.get(key, "") for key in ARGOSY_KEYS}
