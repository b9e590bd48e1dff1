"""A standalone router reports itself in a key, and is listed by any machine's API."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from argosy.errors import InvalidInput, StoreUnavailable
from argosy.model import RouterReport
from argosy.router.announce.door import KeysDoor
from argosy.router.report import KEY_TTL, REFUSED_PAUSE, REPORTS, KeysReporter
from tests.api.house import a_house
from tests.conftest import FakeClock, settle
from tests.router.web import until, until_async


async def test_a_standalone_router_is_listed_by_the_api_of_the_machine_whose_keys_it_follows(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        reporter = KeysReporter(KeysDoor([f"http://{house.address('keys')}"]), "box", "10.0.0.1", house.clock)
        reporter.publish(RouterReport("box", 5.0, routes=3, digest="abc", domain="example"))
        task = asyncio.create_task(reporter.run())

        async def listed() -> bool:
            routers = (await house.own("GET", "/routes")).json["routers"]
            return [(one["machine"], one["address"], one["standalone"], one["omitted"]) for one in routers] == [
                ("box", "10.0.0.1", True, 3)
            ]

        await until_async(listed, "it is listed")
        assert (await house.own("GET", "/routes?brief=true")).json["routers"] == [], "load balancers believe machines' agents only"
        listing = (await house.ask_keys("GET", "/v2/keys/?recursive=true")).json
        assert "nodes" not in listing["node"], "its key is hidden"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Door:
    """A keys API that can be away, and that can refuse."""

    def __init__(self) -> None:
        self.puts: list[tuple[str, int]] = []
        self.error: Exception | None = None

    async def put(self, key: str, value: str, ttl: int) -> None:
        self.puts.append((key, ttl))
        if self.error is not None:
            raise self.error

    async def renew(self, key: str, value: str, ttl: int) -> bool:
        await self.put(key, value, ttl)
        return True

    async def remove(self, key: str, value: str) -> None: ...


async def test_a_report_is_renewed_before_it_ends_and_a_refusal_is_told_once(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    door = Door()
    reporter = KeysReporter(door, "box", "", clock)
    task = asyncio.create_task(reporter.run())
    await settle()
    assert door.puts == []
    reporter.publish(RouterReport("box"))
    await clock.advance(0.1)
    await until(lambda: len(door.puts) == 1, "it is told at once")
    assert door.puts == [(f"{REPORTS}/box", KEY_TTL)]
    await clock.advance(KEY_TTL / 2)
    await until(lambda: len(door.puts) == 2, "it is renewed")
    door.error = StoreUnavailable("away")
    await clock.advance(KEY_TTL / 2)
    await until(lambda: len(door.puts) >= 3, "it is tried")
    assert caplog.messages == []
    door.error = InvalidInput("the keys door refuses it: 403")
    await clock.advance(KEY_TTL)
    for _ in range(3):
        await clock.advance(REFUSED_PAUSE + 2)
        await settle()
    assert caplog.messages == ["argosy routes does not list this router: the keys door refuses it: 403"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
