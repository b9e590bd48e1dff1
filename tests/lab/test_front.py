"""Choosing where the entry listens."""

from __future__ import annotations

import socket

import pytest

from argosy.errors import Conflict, InvalidInput
from argosy.lab import front


async def test_none_is_none() -> None:
    assert await front.choose("") == ""


async def test_a_free_address_is_taken_as_it_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert await front.choose(f"127.0.0.1:{port}") == f"127.0.0.1:{port}"


async def test_an_address_in_use_is_refused_by_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(Conflict, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            await front.choose(f"127.0.0.1:{port}")


@pytest.mark.parametrize("text", ["8080", ":8080", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:²"])
async def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="no address for the entry"):
        await front.choose(text)


async def test_where_nothing_is_said_a_free_port_is_found() -> None:
    chosen = await front.choose(None)
    host, _, port = chosen.rpartition(":")
    assert host == "127.0.0.1"
    assert 8080 <= int(port) < 8180
