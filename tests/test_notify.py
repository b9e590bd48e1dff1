"""sd_notify: over a path, an abstract address, or nobody."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from argosy.notify import notifier, silent


@pytest.mark.parametrize("abstract", [True, False], ids=["abstract", "a path"])
def test_what_it_says_reaches_the_notify_socket(abstract: bool, tmp_path: Path) -> None:
    address = f"@argosy-test-{tmp_path.name}-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind("\0" + address[1:] if abstract else address)
        notifier({"NOTIFY_SOCKET": address})("READY=1\nSTATUS=here")
        assert heard.recv(100) == b"READY=1\nSTATUS=here"
    notifier({"NOTIFY_SOCKET": address})("READY=1")  # nobody listens any more: no harm


def test_without_a_notify_socket_nobody_is_told() -> None:
    assert notifier({}) is silent
    assert notifier({"NOTIFY_SOCKET": "vsock:2:1"}) is silent
