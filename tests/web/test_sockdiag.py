"""Who holds a connection, by the kernel's own list."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from argosy.sockdiag import owner_of
from tests.web.clients import STRANGER, need_other_users

End = tuple[str, int]
LOOPBACK = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]


@contextmanager
def connected(family: int, host: str, *, mapped: bool = False) -> Iterator[tuple[socket.socket, socket.socket]]:
    """The client's and the server's socket."""
    with socket.socket(family) as listener:
        listener.bind((host, 0))
        listener.listen()
        port = listener.getsockname()[1]
        with socket.socket(socket.AF_INET6 if mapped else family) as client:
            client.connect((f"::ffff:{host}" if mapped else host, port))
            server, _ = listener.accept()
            with server:
                yield client, server


def ends(server: socket.socket) -> tuple[End, End]:
    far, near = server.getpeername(), server.getsockname()
    return (far[0], far[1]), (near[0], near[1])


@pytest.mark.parametrize(("family", "host"), LOOPBACK)
def test_a_connection_belongs_to_the_user_whose_process_it_is(family: int, host: str) -> None:
    with connected(family, host) as (_, server):
        assert owner_of(*ends(server)) == os.getuid()


def test_an_ipv6_socket_that_speaks_ipv4_is_found_by_its_ipv4_addresses() -> None:
    with connected(socket.AF_INET, "127.0.0.1", mapped=True) as (_, server):
        assert owner_of(*ends(server)) == os.getuid()


@pytest.mark.parametrize(("family", "host"), LOOPBACK)
def test_a_client_that_has_only_finished_sending_is_known(family: int, host: str) -> None:
    with connected(family, host) as (client, server):
        client.shutdown(socket.SHUT_WR)
        assert owner_of(*ends(server)) == os.getuid()


@pytest.mark.parametrize(("family", "host"), LOOPBACK)
@pytest.mark.parametrize("how", ["closed", "reset"])
def test_a_client_that_is_gone_is_nobody_and_not_root(family: int, host: str, how: str) -> None:
    """The kernel says uid 0 of a socket that its process has closed while its last bytes are on the way."""
    with connected(family, host) as (client, server):
        client.sendall(b"PUT /argosy/v1/units/x.service HTTP/1.1\r\n\r\n")
        if how == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        far, near = ends(server)
        client.close()
        assert owner_of(far, near) is None


def test_a_listener_at_that_address_holds_no_connection() -> None:
    """The kernel answers with the listener where there is no connection."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert owner_of(listener.getsockname(), ("127.0.0.1", 1)) is None


def test_another_users_connection_is_that_users() -> None:
    need_other_users()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        script = f"exec 3<>/dev/tcp/127.0.0.1/{listener.getsockname()[1]}; read"
        with subprocess.Popen(["bash", "-c", script], stdin=subprocess.PIPE, user=STRANGER, group=STRANGER, cwd="/") as child:
            server, _ = listener.accept()
            with server:
                assert owner_of(*ends(server)) == STRANGER
            assert child.stdin is not None
            child.stdin.close()
