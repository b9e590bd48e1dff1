"""Which machines run etcd, and how."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from argosy.lab import members
from tests.lab.test_state import record

CHOICES: Sequence[tuple[int, int]] = [(1, 1), (2, 1), (3, 3), (4, 3), (7, 3)]


@pytest.mark.parametrize(("machines", "expected"), CHOICES)
def test_three_members_or_one_never_two(machines: int, expected: int) -> None:
    names = tuple(f"m{number}" for number in range(1, machines + 1))
    assert members.choose(names) == names[:expected]


def test_members_speak_mutual_tls_only_and_never_on_loopback(tmp_path: Path) -> None:
    lab = msgspec.structs.replace(record(tmp_path / "one", 4), members=("m1", "m2", "m3"))
    text = members.service_file(lab, lab.machine("m2"))
    assert "http://" not in text
    assert "127.0.0.1" not in text
    assert "--client-cert-auth" in text
    assert "--peer-client-cert-auth" in text
    assert "--initial-cluster=m1=https://198.18.0.1:2380,m2=https://198.18.0.2:2380,m3=https://198.18.0.3:2380 " in text
    assert members.store_url(lab) == "etcd:198.18.0.1:2379,198.18.0.2:2379,198.18.0.3:2379"
