"""Each kind of listener against the one contract, and what is a kind's own."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from pathlib import Path

import aiohttp
import pytest

from argosy.errors import Unsuitable
from argosy.reconcile import SystemClock
from argosy.trust import contexts
from argosy.trust.authority import create_authority, issue, machine_name
from argosy.web.admission import Admission
from argosy.web.listeners import Tcp, Unix, unix_listener
from argosy.web.server import Listener, Server
from tests.contracts.listener_contract import Catalog, Ground, ListenerContract

MACHINE = "1" * 32


def papers(folder: Path) -> tuple[str, str, str]:
    """PEM files: an authority, a machine's certificate and its key."""
    authority = create_authority("test", time.time())
    pair = issue(authority, MACHINE, time.time(), addresses=["127.0.0.1"])
    paths = [folder / name for name in ("ca.pem", "cert.pem", "key.pem")]
    for path, content in zip(paths, (authority.cert, pair.cert, pair.key), strict=True):
        path.write_bytes(content)
    return str(paths[0]), str(paths[1]), str(paths[2])


class TestUnix(ListenerContract):
    @pytest.fixture
    async def ground(self, tmp_path: Path) -> Ground:
        return Ground(Unix(str(tmp_path / "s")), aiohttp.UnixConnector)


class TestLoopback(ListenerContract):
    @pytest.fixture
    async def ground(self) -> Ground:
        return Ground(Tcp("127.0.0.1", 0), lambda _: aiohttp.TCPConnector())


class TestHttps(ListenerContract):
    """For whoever has a password: no certificate is asked for."""

    @pytest.fixture
    async def ground(self, tmp_path: Path) -> Ground:
        ca, cert, key = await asyncio.to_thread(papers, tmp_path)
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        await asyncio.to_thread(server.load_cert_chain, cert, key)
        client = await asyncio.to_thread(ssl.create_default_context, cafile=ca)
        return Ground(Tcp("127.0.0.1", 0, server), lambda _: aiohttp.TCPConnector(ssl=client), "https")


class TestMutualTls(ListenerContract):
    @pytest.fixture
    async def ground(self, tmp_path: Path) -> Ground:
        files = await asyncio.to_thread(papers, tmp_path)
        server, client = await asyncio.to_thread(lambda: (contexts.server(*files), contexts.client(*files)))
        return Ground(Tcp("127.0.0.1", 0, server), lambda _: aiohttp.TCPConnector(ssl=client), "https", machine_name(MACHINE))


@pytest.mark.parametrize(("mutual", "level"), [(True, "WARNING"), (False, "DEBUG")])
async def test_a_handshake_that_fails_is_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture, mutual: bool, level: str) -> None:
    """Where everybody may come in, who does not is of no interest."""
    files = await asyncio.to_thread(papers, tmp_path)
    context = await asyncio.to_thread(contexts.server, *files)
    context.verify_mode = ssl.CERT_REQUIRED if mutual else ssl.CERT_NONE
    refused = asyncio.Event()
    listener = Listener("tls", Tcp("127.0.0.1", 0, context), Admission("api"), Catalog().api())
    caplog.set_level(logging.DEBUG, "argosy")
    async with Server([listener], SystemClock(), refused=refused.set).serving() as addresses, asyncio.timeout(10):
        host, _, port = addresses["tls"][0].rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await refused.wait()
        writer.close()
    (record,) = [record for record in caplog.records if record.name == "argosy.web.tls"]
    assert record.levelname == level
    assert record.getMessage().startswith("refused 127.0.0.1:")
    assert record.getMessage().endswith("at listener tls: http request")


def test_a_file_in_the_place_of_a_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "argosy.sock"
    path.write_text("mine")
    with pytest.raises(Unsuitable, match="no socket"):
        unix_listener(path)
    assert path.read_text() == "mine"
    with pytest.raises(Unsuitable, match="at most 107 bytes"):
        unix_listener(tmp_path / ("x" * 120) / "argosy.sock")
