"""What a machine knows of itself."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from msgspec.structs import replace

from argosy.agent.facts import default_address, gather, machine_id, notably_different
from argosy.errors import InvalidInput, Unsuitable
from argosy.model import Facts

ID = "0123456789abcdef0123456789abcdef"
OTHER = "fedcba9876543210fedcba9876543210"


@pytest.mark.parametrize(
    ("sentence", "configured", "kept", "etc", "expected"),
    [
        ("the configured id counts most", OTHER, ID, ID, OTHER),
        ("then the one that was made here earlier", "", ID, OTHER, ID),
        ("then the host's", "", None, ID, ID),
        ("a damaged one is passed over", "", "damaged", ID, ID),
        ("an all-zero one is none", "", "0" * 32, ID, ID),
    ],
)
def test_which_id(tmp_path: Path, sentence: str, configured: str, kept: str | None, etc: str, expected: str) -> None:
    state, host = tmp_path / "state", tmp_path / "machine-id"
    state.mkdir()
    if kept is not None:
        (state / "machine-id").write_text(kept + "\n")
    host.write_text(etc + "\n")
    assert machine_id(configured, state, host) == expected, sentence


@pytest.mark.parametrize("etc", [None, "", "uninitialized", "\xff"])
def test_where_the_host_has_no_id_one_is_made_once_and_kept(tmp_path: Path, etc: str | None) -> None:
    host = tmp_path / "machine-id"
    if etc is not None:
        host.write_bytes(etc.encode("latin-1"))
    made = machine_id("", tmp_path / "state", host)
    assert len(made) == 32
    assert made == made.lower()
    assert int(made, 16)
    assert machine_id("", tmp_path / "state", host) == made
    host.write_text(OTHER)
    assert machine_id("", tmp_path / "state", host) == made, "an id does not change under an agent"


@pytest.mark.parametrize("configured", ["short", ID.upper(), ID + "0", "../../etc/passwd"])
def test_an_id_of_another_form_is_refused(tmp_path: Path, configured: str) -> None:
    with pytest.raises(InvalidInput, match="32 lower-case hexadecimal digits"):
        machine_id(configured, tmp_path)


def test_an_id_that_cannot_be_kept_is_no_id(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file, not a folder")
    with pytest.raises(Unsuitable, match="cannot keep a machine id"):
        machine_id("", tmp_path / "state", tmp_path / "none")


def test_facts_are_plausible(tmp_path: Path) -> None:
    facts = gather(tmp_path)
    assert facts.cores >= 1
    assert 0 < facts.memory_available <= facts.memory
    assert 0 < facts.disk_free <= facts.disk
    assert facts.load >= 0
    assert facts.kernel
    assert facts.os
    assert not notably_different(facts, facts)
    assert gather(tmp_path / "missing").disk == 0


FACTS = Facts(cores=4, memory=1000, memory_available=500, disk=1000, disk_free=500, load=1.0, kernel="6.1", os="Debian")


@pytest.mark.parametrize(
    ("sentence", "changed", "notable"),
    [
        ("a little memory is nothing", replace(FACTS, memory_available=460), False),
        ("a twentieth of it is", replace(FACTS, memory_available=449), True),
        ("a little disk is nothing", replace(FACTS, disk_free=530), False),
        ("a twentieth of it is", replace(FACTS, disk_free=551), True),
        ("a little load is nothing", replace(FACTS, load=1.4), False),
        ("half a core is", replace(FACTS, load=1.6), True),
        ("a kernel is", replace(FACTS, kernel="6.2"), True),
        ("a core is", replace(FACTS, cores=5), True),
    ],
)
def test_what_is_worth_telling(sentence: str, changed: Facts, notable: bool) -> None:
    assert notably_different(FACTS, changed) is notable, sentence


def test_the_default_address_is_one() -> None:
    assert ipaddress.ip_address(default_address())
