"""The entry in front of a cluster: three process machines and more, added, cordoned, killed and back, while requests go on."""

from __future__ import annotations

import asyncio
import secrets
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from argosy.cli.entering import status
from argosy.lab.front import PLACE
from argosy.lab.lab import Lab
from argosy.lab.load import Load
from argosy.lab.state import LabRecord
from argosy.reconcile import SystemClock
from argosy.router.render import HEALTH, HEALTH_HOST
from argosy.trust.authority import create_authority, issue
from tests.lab.cluster import Cluster, whole
from tests.lab.conftest import TTL, new_name
from tests.router.entry.test_render import needs_stream
from tests.router.web import needs_nginx

pytestmark = [pytest.mark.xdist_group("lab"), pytest.mark.timeout(180), needs_nginx, needs_stream]

CLOCK = SystemClock()
RATE = 100


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate for app.example, and the authority that a client believes."""
    folder = tmp_path_factory.mktemp("certificates")
    made = create_authority("web", CLOCK.now())
    pair = issue(made, "app", CLOCK.now(), names=["app.example"], days=30)
    (folder / "app.crt").write_bytes(pair.cert)
    (folder / "app.key").write_bytes(pair.key)
    (folder / "app.key").chmod(0o600)
    return folder


@pytest.fixture(scope="module")
def lab(authority: Path) -> Iterator[Lab]:
    one = Lab(new_name())
    settings = {"router.certificates": str(authority)}
    try:
        asyncio.run(one.up(3, light=True, ttl=TTL, entry=free_address(), entry_tls=free_address(), settings=settings))
        yield one
    finally:
        asyncio.run(one.down())


class Front:
    """What the entry says of itself."""

    def __init__(self, record: LabRecord) -> None:
        self.folder = record.place(PLACE)

    async def becomes(self, wanted: dict[str, str], pool: str = "http") -> None:
        """Waits until the machines of a pool are these, each up, down or what the operator ordered, and nginx sends to those up."""
        await self.until(lambda found: found == wanted, str(wanted), pool)

    async def until(self, holds: Callable[[dict[str, str]], bool], what: str, pool: str = "http") -> None:
        end = CLOCK.monotonic() + 30
        while True:
            told = await asyncio.to_thread(status, self.folder)
            found = {
                one["name"]: one.get("spare") or ("up" if one["up"] else "down")
                for one in told.get("routers", [])
                if one.get("pool", "http") == pool
            }
            used = {name for name, state in found.items() if state == "up"}
            if holds(found) and told["running"] and set(told.get("serves", {}).get(pool, ())) == used:
                return
            assert CLOCK.monotonic() < end, f"not {what}, but {told}"
            await asyncio.sleep(0.02)


@asynccontextmanager
async def loaded(record: LabRecord) -> AsyncIterator[Load]:
    """Requests on new connections, each of which must reach a router."""
    load = Load(f"http://{record.entry}{HEALTH}", HEALTH_HOST, RATE, CLOCK, fresh=True)
    task = asyncio.create_task(load.run())
    try:
        yield load
    finally:
        load.stop()
        await task


ALL = {"m1": "up", "m2": "up", "m3": "up"}


async def test_no_request_fails_while_machines_are_added_cordoned_and_killed_and_come_back(lab: Lab) -> None:
    async with whole(lab) as cluster:
        front = Front(cluster.record)
        await front.becomes(ALL)
        async with loaded(cluster.record) as load:
            await lab.add({"role": "spare"})
            await front.becomes({**ALL, "m4": "up"})
            await cluster["m1"].ask("POST", "/machines/m1/cordon")
            await front.becomes({**ALL, "m1": "cordoned", "m4": "up"})
            await lab.kill("m2")
            await front.until(lambda found: found.get("m2") in ("down", None), "m2 is out")
            await cluster.leaves("m2", "m1")
            await front.becomes({"m1": "cordoned", "m3": "up", "m4": "up"})
            await lab.remove("m4")
            await front.until(lambda found: found.get("m4") in ("down", None), "m4 is out")
            await cluster["m1"].ask("POST", "/machines/m1/uncordon")
            await lab.start("m2")
            await cluster.joins("m2", "m1")
            await front.becomes(ALL)
        assert load.failed() == []
        assert len(load.answers) > RATE


async def test_with_every_agent_gone_it_goes_on_and_hears_of_changes_again_when_one_is_back(lab: Lab) -> None:
    async with whole(lab) as cluster:
        front = Front(cluster.record)
        await front.becomes(ALL)
        async with loaded(cluster.record) as load:
            for name in ("m1", "m2", "m3"):
                await cluster.kill_program(name, "argosy", "agent")
            for name in ("m1", "m2", "m3"):
                await cluster.answers(name)
            await cluster["m3"].ask("POST", "/machines/m3/drain")
            await front.becomes({**ALL, "m3": "draining"})
            await cluster["m3"].ask("POST", "/machines/m3/uncordon")
            await front.becomes(ALL)
        assert load.failed() == []


async def test_an_entry_that_is_killed_is_started_again_and_its_nginx_is_not_touched(lab: Lab) -> None:
    async with whole(lab) as cluster:
        front = Front(cluster.record)
        await front.becomes(ALL)
        pidfile = front.folder / "nginx" / "nginx.pid"
        before = await asyncio.to_thread(pidfile.read_text)
        async with loaded(cluster.record) as load:
            await kill_entry(cluster)
            await cluster["m1"].ask("POST", "/machines/m2/cordon")
            await front.becomes({**ALL, "m2": "cordoned"})
            await cluster["m1"].ask("POST", "/machines/m2/uncordon")
            await front.becomes(ALL)
        assert load.failed() == []
        assert await asyncio.to_thread(pidfile.read_text) == before


async def kill_entry(cluster: Cluster) -> None:
    await cluster.kill_program(PLACE, "argosy", "entry", "--listen")


async def test_tls_reaches_the_routers_with_their_own_certificate(lab: Lab, authority: Path) -> None:
    async with whole(lab) as cluster:
        await Front(cluster.record).becomes(ALL, "tls")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(authority / "app.crt")
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        url = f"https://{cluster.record.entry_tls}{HEALTH}"
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(connector=connector) as session:
            for _ in range(6):
                host = f"{secrets.token_hex(4)}.example"
                async with session.get(url, ssl=context, server_hostname="app.example", headers={"Host": host}) as answer:
                    assert (answer.status, await answer.text()) == (200, "ok\n")
