"""Mutual TLS: whoever has a certificate of the cluster's authority gets in, nobody else does."""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path

import pytest

from argosy.errors import InvalidInput
from argosy.trust import contexts
from argosy.trust.authority import Pair, create_authority, issue, machine_name

DAY = 86400.0
SERVER_ID = "aa" * 16
CLIENT_ID = "bb" * 16


def written(folder: Path, name: str, authority: Pair, pair: Pair) -> tuple[str, str, str]:
    files = {"ca": authority.cert, "cert": pair.cert, "key": pair.key}
    paths = []
    for kind, content in files.items():
        path = folder / f"{name}.{kind}.pem"
        path.write_bytes(content)
        paths.append(str(path))
    return paths[0], paths[1], paths[2]


async def greeting(server: tuple[str, str, str], client: tuple[str, str, str] | None, host: str) -> bytes:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"welcome")
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        except (OSError, ConnectionError):
            pass

    listener = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=contexts.server(*server))
    port = listener.sockets[0].getsockname()[1]
    context = ssl.create_default_context(cafile=server[0]) if client is None else contexts.client(*client)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=host)
        try:
            return await reader.read()
        finally:
            writer.close()
    except OSError:
        return b"refused"
    finally:
        listener.close()


@pytest.fixture
def cluster(tmp_path: Path) -> tuple[Pair, tuple[str, str, str]]:
    authority = create_authority("test", time.time())
    return authority, written(tmp_path, "server", authority, issue(authority, SERVER_ID, time.time()))


async def test_a_machine_of_the_cluster_is_let_in(tmp_path: Path, cluster: tuple[Pair, tuple[str, str, str]]) -> None:
    authority, server = cluster
    client = written(tmp_path, "client", authority, issue(authority, CLIENT_ID, time.time()))
    assert await greeting(server, client, machine_name(SERVER_ID)) == b"welcome"


async def test_a_server_of_another_name_is_not_trusted(tmp_path: Path, cluster: tuple[Pair, tuple[str, str, str]]) -> None:
    authority, server = cluster
    client = written(tmp_path, "client", authority, issue(authority, CLIENT_ID, time.time()))
    assert await greeting(server, client, machine_name("cc" * 16)) == b"refused"


async def test_a_certificate_of_another_authority_is_refused(tmp_path: Path, cluster: tuple[Pair, tuple[str, str, str]]) -> None:
    authority, server = cluster
    stranger = create_authority("test", time.time())
    client = written(tmp_path, "client", authority, issue(stranger, CLIENT_ID, time.time()))
    assert await greeting(server, client, machine_name(SERVER_ID)) in (b"refused", b"")


async def test_an_expired_certificate_is_refused(tmp_path: Path, cluster: tuple[Pair, tuple[str, str, str]]) -> None:
    authority, server = cluster
    client = written(tmp_path, "client", authority, issue(authority, CLIENT_ID, time.time() - 10 * DAY, days=5))
    assert await greeting(server, client, machine_name(SERVER_ID)) in (b"refused", b"")


async def test_no_certificate_is_refused(cluster: tuple[Pair, tuple[str, str, str]]) -> None:
    assert await greeting(cluster[1], None, machine_name(SERVER_ID)) in (b"refused", b"")


@pytest.mark.parametrize("name", ["", "../x", "a b", "x" * 80, "a\n"])
def test_what_is_no_name_gets_no_certificate(name: str) -> None:
    with pytest.raises(InvalidInput):
        issue(create_authority("test", time.time()), name, time.time())


def test_files_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"nowhere\.pem"):
        contexts.server(str(tmp_path / "nowhere.pem"), "c", "k")
