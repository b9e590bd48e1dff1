"""The doors themselves: where they may be, how they open and close, and what they say while the store is away."""

from __future__ import annotations

import asyncio
import socket
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from argosy.api.server import door_address
from argosy.errors import InvalidInput, StoreUnavailable, Unsuitable
from argosy.reconcile import SystemClock
from argosy.store.base import Condition, Listing, Put, Record, Write
from argosy.store.sqlite import SqliteStore
from tests.api.house import HELLO, M1, a_house, config_for


class Away(SqliteStore):
    """A store that can be sent away."""

    away = False

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailable("etcd does not answer: no quorum")

    async def get(self, key: str) -> Record | None:
        self._check()
        return await super().get(key)

    async def list(self, prefix: str) -> Listing:
        self._check()
        return await super().list(prefix)

    async def commit(self, conditions: Sequence[Condition], writes: Sequence[Write]) -> int:
        self._check()
        return await super().commit(conditions, writes)


AWAY: list[tuple[str, str, str, Any]] = [
    ("own", "GET", "/argosy/v1/units", None),
    ("own", "GET", "/argosy/v1/machines", None),
    ("own", "GET", "/argosy/v1/units/a.service/why", None),
    ("own", "PUT", "/argosy/v1/units/a.service", {"text": HELLO}),
    ("own", "POST", "/argosy/v1/units", {"units": [{"name": "a.service", "text": HELLO}]}),
    ("own", "DELETE", "/argosy/v1/units/a.service", None),
    ("own", "POST", f"/argosy/v1/machines/{M1}/cordon", None),
    ("own", "GET", "/argosy/v1/routes", None),
    ("fleet", "GET", "/fleet/v1/units", None),
    ("fleet", "GET", "/fleet/v1/state", None),
    ("fleet", "GET", "/fleet/v1/machines", None),
    ("fleet", "PUT", "/fleet/v1/units/a.service", {"desiredState": "launched"}),
    ("fleet", "DELETE", "/fleet/v1/units/a.service", None),
]


async def test_while_the_store_is_away_every_answer_is_503_with_json_and_an_invitation(tmp_path: Path) -> None:
    async with Away(":memory:", SystemClock()) as store, a_house(tmp_path, store=store) as house:
        assert (await house.ask_keys("PUT", "/v2/keys/a", data={"value": "1"})).status == 201
        store.away = True
        for said, method, path, body in AWAY:
            reply = await house.ask(method, path, body)
            assert (reply.status, reply.headers.get("Retry-After")) == (503, "1"), (said, method, path)
            assert reply.json["error"]["message"] == "etcd does not answer: no quorum"
        health = await house.own("GET", "/health")
        assert (health.status, health.json["healthy"]) == (503, False)
        assert "argosy_store_up 0.0" in (await house.ask("GET", "/metrics")).body.decode()
        assert (await house.own("GET", "/version")).status == 200
        write = await house.ask_keys("PUT", "/v2/keys/a", data={"value": "2"})
        assert (write.status, write.json["errorCode"]) == (503, 300)
        assert (await house.ask_keys("GET", "/v2/keys/a")).json["node"]["value"] == "1"
        assert (await house.ask_keys("GET", "/health")).status == 503
        store.away = False
        assert (await house.own("GET", "/health")).status == 200
        assert (await house.ask_keys("GET", "/health")).json == {"health": "true"}


async def test_a_blocking_read_survives_a_store_that_goes_and_comes(tmp_path: Path) -> None:
    async with Away(":memory:", SystemClock()) as store, a_house(tmp_path, store=store) as house:
        await house.submit("a.service")
        index = (await house.own("GET", "/units")).json["index"]
        waiting = asyncio.create_task(house.own("GET", f"/units?index={index}&wait=30"))
        await asyncio.sleep(0.02)
        store.away = True
        await asyncio.sleep(0.02)
        assert not waiting.done()
        store.away = False
        await house.place("a.service")
        assert (await asyncio.wait_for(waiting, 5)).status == 200


async def test_sockets_are_for_owner_and_group_and_go_with_the_api(tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.sock"
    async with a_house(tmp_path, api__fleet_socket=str(fleet)) as house:
        for path in (Path(house.address("socket")), fleet):
            mode = path.stat().st_mode
            assert (stat.S_ISSOCK(mode), stat.S_IMODE(mode)) == (True, 0o660)
    assert not fleet.exists()


async def test_a_socket_left_by_a_dead_process_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "run" / "argosy.sock"
    path.parent.mkdir()
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    async with a_house(tmp_path) as house:
        assert (await house.own("GET", "/version")).status == 200
        with pytest.raises(Unsuitable, match="somebody answers there"):
            async with a_house(tmp_path):
                pass
        assert (await house.own("GET", "/version")).status == 200


async def test_an_address_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Unsuitable, match=f"cannot listen on {address}"):
            async with a_house(tmp_path, api__listen=[address]):
                pass
    assert not (tmp_path / "run" / "argosy.sock").exists()


def test_the_door_for_other_machines_needs_certificates_and_an_address(tmp_path: Path) -> None:
    tls = {"tls__ca": "ca", "tls__cert": "cert", "tls__key": "key"}
    assert door_address(config_for(tmp_path)) is None
    assert door_address(config_for(tmp_path, **tls)) is None
    assert door_address(config_for(tmp_path, **tls, machine__address="10.0.0.1")) == ("10.0.0.1", 8700)
    assert door_address(config_for(tmp_path, **tls, api__door="10.0.0.1:9")) == ("10.0.0.1", 9)
    assert door_address(config_for(tmp_path, **tls, api__door="none", machine__address="10.0.0.1")) is None
    with pytest.raises(InvalidInput, match="needs certificates"):
        door_address(config_for(tmp_path, api__door="10.0.0.1:9"))


async def test_closing_ends_those_who_wait_and_leaves_nothing_behind(tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as clients:

        async def wait(url: str) -> bytes:
            async with clients.get(url) as response:
                return await response.read()

        async with a_house(tmp_path) as house:
            index = await house.store.commit([], [Put("/x", b"")])
            waits = [
                asyncio.create_task(wait(f"http://{house.address('keys')}/v2/keys/a?wait=true")),
                asyncio.create_task(wait(f"http://{house.address('tcp')}/argosy/v1/units?index={index}&wait=300")),
            ]
            await asyncio.sleep(0.1)
            begun = time.monotonic()
        watched, read = await asyncio.wait_for(asyncio.gather(*waits, return_exceptions=True), 5)
        assert time.monotonic() - begun < 5
    assert watched == b""  # as etcd ends a wait: the client asks again
    assert isinstance(read, aiohttp.ClientError)
    assert not [task for task in asyncio.all_tasks() if task.get_name() in ("keys", "keys-sweep", "tls-handshake")]


async def test_the_api_runs_until_it_is_cancelled_and_can_be_started_again(tmp_path: Path) -> None:
    for _ in range(2):
        async with a_house(tmp_path) as house:
            assert (await house.own("GET", "/units")).json["units"] == []
            assert house.api.opened.is_set()
        assert not house.api.opened.is_set()


async def test_clients_that_hang_up_while_they_wait_leave_nothing_behind(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        await house.submit("a.service")
        index = (await house.own("GET", "/units")).json["index"]
        waiting = asyncio.create_task(house.own("GET", f"/units?index={index}&wait=300"))
        await _until(lambda: house.cache.blocked == 1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await _until(lambda: house.cache.blocked == 0)


async def _until(true: Callable[[], bool]) -> None:
    for _ in range(500):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen within 5 s")


async def test_a_bridge_address_can_be_named_for_containers(tmp_path: Path) -> None:
    async with a_house(tmp_path, keys__listen=["127.0.0.1:0", "127.0.0.2:0"]) as house:
        address = house.api.addresses["keys"][1]
        async with house.tcp.get(f"http://{address}/v2/members") as response:
            assert (await response.json())["members"][0]["clientURLs"] == [f"http://{address}"]
