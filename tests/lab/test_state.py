"""What is kept about a lab."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.errors import InvalidInput, NotFound
from argosy.lab import finding, state
from argosy.lab.state import LabRecord, MachineRecord


def record(folder: Path, machines: int = 3) -> LabRecord:
    found = tuple(MachineRecord(f"m{n}", n, f"{n:032x}", f"198.18.0.{n}", f"198.18.0.{n}:80") for n in range(1, machines + 1))
    return LabRecord(folder.name, str(folder), "nspawn", 0, 5.0, 1.0, ("m1",), found)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    lab = record(tmp_path / "one")
    state.save(lab)
    assert state.load("one", tmp_path) == lab
    assert state.names(tmp_path) == ("one",)
    assert os.listdir(tmp_path / "one") == ["lab.json"]


def test_a_lab_that_is_not_there_is_named_with_the_way_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no lab 'one' on this host \(argosy lab up --name one\)"):
        state.load("one", tmp_path)
    assert state.names(tmp_path / "nowhere") == ()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"name": 3}', b"\xff\x00"])
def test_a_broken_record_is_told_with_its_path(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "lab.json").write_bytes(content)
    with pytest.raises(InvalidInput, match=r"one/lab.json cannot be read.*argosy lab down --name one"):
        state.load("one", tmp_path)


@pytest.mark.parametrize("name", ["", "A", "1a", "a/b", "..", "a.b", "a b", "x" * 25, "ä", "a\n", "-a"])
def test_a_name_that_could_leave_the_folder_or_a_link_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be a lab's name"):
        state.load(name, tmp_path)


ROOTS: Sequence[tuple[str, dict[str, str], int, str]] = [
    ("root's labs are the system's", {"HOME": "/root", "XDG_STATE_HOME": "/x"}, 0, "/var/lib/argosy-lab"),
    ("a user's lie in the state home", {"HOME": "/home/u", "XDG_STATE_HOME": "/x"}, 1000, "/x/argosy-lab"),
    ("which has a default", {"HOME": "/home/u"}, 1000, "/home/u/.local/state/argosy-lab"),
]


@pytest.mark.parametrize(("sentence", "environ", "uid", "expected"), ROOTS, ids=[row[0] for row in ROOTS])
def test_where_labs_live(sentence: str, environ: dict[str, str], uid: int, expected: str) -> None:
    assert state.root(environ, uid) == Path(expected)


def test_sockets_are_those_of_running_machines_first(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    lab = record(tmp_path / "one")
    state.save(lab.with_machine(msgspec.structs.replace(lab.machine("m1"), off=True)))
    found = finding.sockets("one", str(tmp_path))
    assert found == tuple(f"{tmp_path}/one/{machine}/run/argosy.sock" for machine in ("m2", "m3", "m1"))
    assert found[0] == str(lab.socket("m2"))


@pytest.mark.parametrize("content", [b"", b"[]", b'{"machines": [{}], "folder": "/x"}', b'{"machines": 3}', b"\xff"])
def test_the_sockets_of_a_lab_with_a_broken_record_are_not_guessed(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "lab.json").write_bytes(content)
    with pytest.raises(InvalidInput, match=r"lab one cannot be read.*argosy lab down --name one"):
        finding.sockets("one", str(tmp_path))


def test_a_machine_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"lab one has no machine 'm9' \(it has m1, m2, m3\)"):
        record(tmp_path / "one").machine("m9")


SIDES: Sequence[tuple[str, tuple[tuple[str, ...], ...], tuple[tuple[str, ...], ...]]] = [
    ("two sides", (("m1",), ("m2", "m3")), (("m1",), ("m2", "m3"))),
    ("the others stay together", (("m1",),), (("m1",), ("m2", "m3"))),
    ("an empty side is none", ((), ("m2",)), (("m2",), ("m1", "m3"))),
    ("everybody alone", (("m1",), ("m2",), ("m3",)), (("m1",), ("m2",), ("m3",))),
]


@pytest.mark.parametrize(("sentence", "groups", "expected"), SIDES, ids=[row[0] for row in SIDES])
def test_the_sides_of_a_partition(sentence: str, groups: tuple[tuple[str, ...], ...], expected: tuple[tuple[str, ...], ...]) -> None:
    assert state.sides(("m1", "m2", "m3"), groups) == expected


@pytest.mark.parametrize(
    ("groups", "why"),
    [
        ((("m4",),), "no machine 'm4'.*m1, m2, m3"),
        ((("m1",), ("m1",)), "m1 cannot be on two sides"),
        ((("m1", "m1"),), "m1 cannot be on two sides"),
        ((("m1", "m2", "m3"),), "at least two sides"),
        ((), "at least two sides"),
    ],
)
def test_a_partition_that_makes_no_sense_is_refused(groups: tuple[tuple[str, ...], ...], why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        state.sides(("m1", "m2", "m3"), groups)


@given(st.lists(st.lists(st.sampled_from([f"m{n}" for n in range(1, 8)]), unique=True), max_size=5))
def test_every_machine_is_on_exactly_one_side(groups: list[list[str]]) -> None:
    machines = tuple(f"m{n}" for n in range(1, 8))
    try:
        found = state.sides(machines, tuple(tuple(group) for group in groups))
    except InvalidInput:
        return
    assert sorted(name for side in found for name in side) == sorted(machines)
    assert all(name in found[state.side_of(name, found)] for name in machines)
