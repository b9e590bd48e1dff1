"""What a machine tells of itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from argosy.config import Config
from argosy.daemon import check_key, door
from argosy.errors import InvalidInput

DOORS = [
    ("IPv4 is followed by the port", "10.0.0.1", "", "10.0.0.1:8700"),
    ("IPv6 stands in brackets", "fd00::1", "", "[fd00::1]:8700"),
    ("and in one pair of them", "[fd00::1]", "", "[fd00::1]:8700"),
    ("what the operator says stands", "10.0.0.1", "10.9.0.1:9", "10.9.0.1:9"),
    ("no door is none", "10.0.0.1", "none", ""),
]


@pytest.mark.parametrize(("sentence", "address", "said", "expected"), DOORS, ids=[row[0] for row in DOORS])
def test_where_other_machines_ask_this_one(sentence: str, address: str, said: str, expected: str) -> None:
    config = Config()
    with_papers = msgspec.structs.replace(config.tls, ca=Path("/etc/argosy/ca.crt"))
    config = msgspec.structs.replace(config, tls=with_papers, api=msgspec.structs.replace(config.api, door=said))
    assert door(config, address) == expected


def test_without_certificates_there_is_no_door() -> None:
    assert door(Config(), "10.0.0.1") == ""


@pytest.mark.parametrize(("mode", "refused"), [(0o600, False), (0o640, False), (0o644, True), (0o602, True)])
def test_a_key_that_every_user_may_read_is_refused_with_its_remedy(tmp_path: Path, mode: int, refused: bool) -> None:
    key = tmp_path / "machine.key"
    key.touch()
    key.chmod(mode)
    if not refused:
        check_key(str(key))
        return
    with pytest.raises(InvalidInput, match=f"has mode {mode:04o}.*chmod 0600 {key}"):
        check_key(str(key))


def test_an_agent_loads_no_driver_before_it_is_asked_for() -> None:
    drivers = ("grpc", "aetcd", "dbus_fast", "sqlite3", "cryptography", "obstore", "argosy.agent.supervisor", "argosy.unit.verify")
    asked = f"import sys, argosy.cli.agent; print(*(name for name in {drivers!r} if name in sys.modules))"
    said = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout.split() == []
