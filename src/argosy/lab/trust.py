"""The lab's own authority, and the certificates of its machines. The authority's key lies in the lab's folder, for machines added later."""

from __future__ import annotations

import time
from pathlib import Path

from argosy import files
from argosy.lab.state import LabRecord
from argosy.trust.authority import Pair, create_authority, issue


def make_authority(lab: LabRecord) -> None:
    pair = create_authority(f"lab {lab.name}", time.time())
    write_secret(Path(lab.folder) / "ca.key", pair.key)
    (Path(lab.folder) / "ca.pem").write_bytes(pair.cert)


def pems(lab: LabRecord, name: str) -> tuple[bytes, bytes, bytes]:
    """(authority's certificate, a new certificate for the machine, its key)."""
    authority = Pair((Path(lab.folder) / "ca.pem").read_bytes(), (Path(lab.folder) / "ca.key").read_bytes())
    machine = lab.machine(name)
    pair = issue(authority, machine.id, time.time(), names=(name,), addresses=(machine.address,))
    return authority.cert, pair.cert, pair.key


def write_secret(path: Path, content: bytes) -> None:
    files.write(path, content, mode=0o600)
