"""Who asked is known to the app though the entry passes TLS on as it is: a real entry, a real router, an app that tells what it hears."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from argosy.config import RouterSection
from argosy.errors import InvalidInput
from argosy.model import Entry as Key
from argosy.reconcile import SystemClock
from argosy.router.entry.plan import Member, Wanted
from argosy.router.feed import StoreFeed
from argosy.router.loop import Router, settings_of
from argosy.router.nginx import Nginx
from argosy.router.opening import open_router
from argosy.state import keys
from argosy.state.cache import Cache
from argosy.state.records import encode
from argosy.store.base import Put
from argosy.store.sqlite import SqliteStore
from tests.router.entry.test_render import needs_stream
from tests.router.entry.test_serving import serving
from tests.router.tls.certs import make, put
from tests.router.tls.test_serving import careless
from tests.router.web import backend, free_port, needs_nginx, nginx, until

pytestmark = [needs_nginx, needs_stream]

CLOCK = SystemClock()
HOST = "hello.example.org"
ENTRY, CLIENT = "127.0.0.1", "127.0.77.9"
LIES = "X-Forwarded-For: 192.0.2.66\r\nX-Forwarded-Proto: http\r\nX-Real-IP: 192.0.2.66\r\n"


@asynccontextmanager
async def routing(place: Path, proxy: Nginx, app: str) -> AsyncIterator[Router]:
    """A router that takes the PROXY protocol from the entry."""
    certificates = place / "certificates"
    certificates.mkdir()
    made = make((HOST,), time.time())
    put(certificates, "hello", made.cert, made.key)
    section = RouterSection(
        listen=(f"127.0.0.1:{free_port()}",),
        tls_listen=(f"127.0.0.1:{free_port()}",),
        certificates=str(certificates),
        domain="example.org",
        proxy_protocol=True,
        trusted=(ENTRY,),
    )
    async with SqliteStore(":memory:", CLOCK) as store:
        await store.commit([], [Put(f"{keys.WEB}hello/1", encode(Key(app)))])
        router = open_router(section, place / "router", proxy, StoreFeed(Cache(store, CLOCK)), "1" * 32, CLOCK)
        task = asyncio.create_task(router.run())
        try:
            await until(lambda: bool(router.served.upstreams and router.report.tls_listen), "the app is served")
            yield router
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def heard(address: str, before: bytes = b"") -> str:
    """What the app hears of a request over TLS that lies about its way; `before` is said before TLS begins."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), local_addr=(CLIENT, 0))
    try:
        writer.write(before)
        await writer.start_tls(careless(), server_hostname=HOST)
        writer.write(f"GET /echo HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n{LIES}\r\n".encode())
        return (await reader.read()).decode().lower()
    finally:
        writer.close()


async def test_an_app_hears_who_asked_through_an_entry_that_passes_tls_on_and_nobody_can_lie_about_it(tmp_path: Path) -> None:
    async with (
        nginx(tmp_path / "router") as behind,
        nginx(tmp_path / "entry") as front,
        backend("app") as app,
        routing(tmp_path, behind, app.address) as router,
    ):
        assert router.report.proxy_protocol
        wanted = Wanted((), (f"127.0.0.1:{free_port()}",), proxy_protocol=True)
        async with serving(wanted, front, Member("1" * 32, "m1", ENTRY, router=router.report)):
            said = await heard(wanted.tls_listen[0])
        assert f"\r\nx-real-ip: {CLIENT}\r\n" in said
        assert f"\r\nx-forwarded-for: 192.0.2.66, {CLIENT}\r\n" in said
        assert "\r\nx-forwarded-proto: https\r\n" in said
        forged = await heard(router.report.tls_listen[0], b"PROXY TCP4 192.0.2.99 192.0.2.1 1 443\r\n")
        assert f"\r\nx-real-ip: {CLIENT}\r\n" in forged, "whoever is not trusted is not believed"
        assert "192.0.2.99" not in forged


@pytest.mark.parametrize("section", [RouterSection(proxy_protocol=True), RouterSection(proxy_protocol=True, certificates="/x")])
def test_it_needs_certificates_and_somebody_to_believe(section: RouterSection) -> None:
    with pytest.raises(InvalidInput, match="proxy_protocol needs certificates and trusted"):
        settings_of(section)
