"""The cables of full machines, as commands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from argosy.lab import network
from tests.lab.test_state import record

HEADER = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"

USED: Sequence[tuple[str, list[str], str, set[int]]] = [
    ("nothing is in use", ["lo", "eth0"], "", set()),
    ("a lab's cable", ["lo", "argosy3", "argosy3s1"], "", {3}),
    ("other links whose names begin so", ["argosy", "argosyx", "argosy-a"], "", set()),
    ("a route of somebody else", [], "eth0\t000212C6\t00000000\t1\t0\t0\t0\t00FFFFFF\t0\t0\t0\n", {2}),
    ("a route over four of ours", [], "eth0\t000412C6\t00000000\t1\t0\t0\t0\t00FCFFFF\t0\t0\t0\n", {4, 5, 6, 7}),
    ("a route over all of them", [], "eth0\t000012C6\t00000000\t1\t0\t0\t0\t0000FFFF\t0\t0\t0\n", set(range(64))),
    ("the default route", [], "eth0\t00000000\t0101A8C0\t3\t0\t0\t0\t00000000\t0\t0\t0\n", set()),
]


@pytest.mark.parametrize(("sentence", "links", "routes", "expected"), USED, ids=[row[0] for row in USED])
def test_numbers_in_use(sentence: str, links: list[str], routes: str, expected: set[int]) -> None:
    assert network.numbers_in_use(links, HEADER + routes) == expected


def test_link_names_fit_the_kernel_and_are_told_apart() -> None:
    names = [network.link(number, side) for number in range(network.NUMBERS) for side in range(200)]
    assert max(len(name) for name in names) <= 15
    assert len(set(names)) == len(names)


def test_hardware_addresses_are_local_and_unique() -> None:
    found = {network.hardware(number, machine) for number in range(network.NUMBERS) for machine in range(1, 255)}
    assert len(found) == network.NUMBERS * 254
    assert all(int(address[:2], 16) & 3 == 2 for address in found)


def test_a_machine_is_plugged_in_on_its_side(tmp_path: Path) -> None:
    lab = msgspec.structs.replace(record(tmp_path / "one"), groups=(("m1",), ("m2", "m3")))
    in_switch, in_machine = network.cable_to_machine(lab, "m3", "/switch", "/space")
    assert in_switch[-1] == "link set m3 master side1 up"
    assert "address add 198.18.0.3/24 dev host0" in in_machine
    assert network.plugs(lab, ["m1", "m3"]) == ["link set m1 master side0", "link set m3 master side1"]


def test_the_host_has_a_way_to_every_side(tmp_path: Path) -> None:
    whole = record(tmp_path / "one")
    cut = msgspec.structs.replace(whole, groups=(("m1",), ("m2",), ("m3",)))
    assert network.routes(whole) == []
    assert network.routes(cut) == [
        "route replace 198.18.0.2/32 dev argosy0s1 src 198.18.0.254",
        "route replace 198.18.0.3/32 dev argosy0s2 src 198.18.0.254",
    ]
