"""The network of full machines: per lab a switch in a network namespace of its own, one virtual cable to each machine, one to the host.

            host  198.18.N.254  argosyN ──┐
    ┌─ switch namespace ──────────────────┼────────────┐
    │   bridge side0:  host0 ─────────────┘  m1  m2    │      A partition is one bridge for each side, and a cable from the host
    │   bridge side1:  host1 (argosyNs1)  m3           │      to each: machines of other sides are simply not there, nobody is
    └─────────────────────────────────────┼──┼──┼──────┘      told so, and the host reaches everybody.
                                         m1 m2 m3  each in its namespace, as host0, 198.18.N.1, .2, .3

The bridge has a namespace of its own because on a host with Docker or Kubernetes bridged traffic passes the host's packet filter.
Everything here makes command lines for `ip -batch`; nothing here runs them.
"""

from __future__ import annotations

from collections.abc import Sequence

from argosy.lab.state import LabRecord, side_of

RANGE = "198.18"
"""Addresses kept for benchmarks (RFC 2544): no host uses them."""

NUMBERS = 64
HOST = 254
BRIDGE_OF_CONTAINERS = "172.17.0.1"


def address(number: int, machine: int) -> str:
    return f"{RANGE}.{number}.{machine}"


def link(number: int, side: int = 0) -> str:
    """The host's end of its cable to one side of a lab's network."""
    return f"argosy{number}" if side == 0 else f"argosy{number}s{side}"


def is_link(name: str, number: int) -> bool:
    return name == link(number) or name.startswith(f"argosy{number}s")


def hardware(number: int, machine: int) -> str:
    """A machine keeps its hardware address over a power cut, so that nobody's neighbour table is wrong. The host has the same one on
    every side, for the same reason."""
    return f"02:a7:90:{number:02x}:00:{machine:02x}"


def cable_to_host(number: int, side: int, switch: str) -> tuple[list[str], list[str]]:
    """(on the host, in the switch): a bridge for one side, with a cable to the host."""
    outer, inner = link(number, side), f"host{side}"
    on_host = [f"link add {outer} address {hardware(number, HOST)} type veth peer name {inner} netns {switch}", f"link set {outer} up"]
    if side == 0:
        on_host.append(f"address add {address(number, HOST)}/24 dev {outer}")
    in_switch = [f"link add side{side} type bridge", f"link set side{side} up", f"link set {inner} master side{side} up"]
    return on_host, in_switch


def cable_to_machine(lab: LabRecord, name: str, switch: str, space: str) -> tuple[list[str], list[str]]:
    """(in the switch, in the machine): the machine's cable, plugged in on its side; what a full host has from its first moment on."""
    machine = lab.machine(name)
    in_switch = [
        f"link add {name} type veth peer name host0 address {hardware(lab.number, machine.number)} netns {space}",
        f"link set {name} master side{side_of(name, lab.groups)} up",
    ]
    in_machine = [
        "link set lo up",
        "link set host0 up",
        f"address add {machine.address}/24 dev host0",
        # Docker takes over a bridge that is there; so its address can be listened on before Docker is up.
        "link add docker0 type bridge",
        f"address add {BRIDGE_OF_CONTAINERS}/16 dev docker0",
        "link set docker0 up",
    ]
    return in_switch, in_machine


def plugs(lab: LabRecord, running: Sequence[str]) -> list[str]:
    """In the switch: every running machine's cable moved to the bridge of its side."""
    return [f"link set {name} master side{side_of(name, lab.groups)}" for name in running]


def routes(lab: LabRecord) -> list[str]:
    """On the host: the way to each machine. The first side is the network's own route."""
    found = []
    for machine in lab.machines:
        side = side_of(machine.name, lab.groups)
        if side:
            found.append(f"route replace {machine.address}/32 dev {link(lab.number, side)} src {address(lab.number, HOST)}")
    return found


def numbers_in_use(links: Sequence[str], routing_table: str) -> frozenset[int]:
    """Lab numbers that a link's name or a route of /proc/net/route (little-endian hexadecimal) already uses."""
    used = {
        int(digits)
        for digits in (name.removeprefix("argosy").partition("s")[0] for name in links if name.startswith("argosy"))
        if digits.isdigit()
    }
    for line in routing_table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 7:
            target, mask = bytes.fromhex(fields[1])[::-1], bytes.fromhex(fields[7])[::-1]
            if mask[:2] == b"\xff\xff" and f"{target[0]}.{target[1]}" == RANGE:
                size = 256 - mask[2]
                used.update(range(target[2], min(target[2] + size, NUMBERS)))
    return frozenset(used)
