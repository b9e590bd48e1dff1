"""Routers as clients see them: small reports in the store, and what is served asked of each machine."""

from __future__ import annotations

from pathlib import Path

from argosy.model import RouterDetail, RouterReport, Upstream
from argosy.state import keys
from argosy.state.records import encode
from argosy.store.base import Put
from tests.api.house import M1, M2, FakeRouter, House
from tests.api.test_peers import two_machines

HELLO = Upstream("hello", "1", "10.0.0.1:3000", 5.0)
SHOP = Upstream("shop", "1", "10.0.0.2:3000", 6.0)


async def report(house: House, told: RouterReport) -> None:
    await house.store.commit([], [Put(keys.router(told.machine), encode(told))])


def serving(*upstreams: Upstream) -> FakeRouter:
    router = FakeRouter()
    router.served = RouterDetail(upstreams)
    return router


async def test_what_routers_serve_is_asked_of_their_machines(tmp_path: Path) -> None:
    routers = {M1: serving(HELLO), M2: serving(HELLO, SHOP)}
    async with two_machines(tmp_path, routers) as two:
        for machine, router in routers.items():
            await report(two.first, router.report(machine))
        for house in (two.first, two.second):
            found = (await house.own("GET", "/routes")).json["routers"]
            assert [(one["machine"], [up["app"] for up in one["upstreams"]]) for one in found] == [(M1, ["hello"]), (M2, ["hello", "shop"])]
        some = (await two.first.own("GET", "/routes?app=shop")).json["routers"]
        assert [[up["app"] for up in one.get("upstreams", [])] for one in some] == [[], ["shop"]]


async def test_of_routers_that_serve_the_same_one_is_asked_what_concerns_an_app(tmp_path: Path) -> None:
    routers = {M1: serving(HELLO, SHOP), M2: serving(HELLO, SHOP)}
    async with two_machines(tmp_path, routers) as two:
        for machine, router in routers.items():
            await report(two.first, router.report(machine))
        found = (await two.first.own("GET", "/routes?app=shop")).json["routers"]
        assert [(one["machine"], [up["app"] for up in one["upstreams"]]) for one in found] == [(M1, ["shop"]), (M2, ["shop"])]
        assert (len(routers[M1].asked), routers[M2].asked) == (1, [])


async def test_a_machine_that_cannot_be_asked_is_told_with_the_reason(tmp_path: Path) -> None:
    async with two_machines(tmp_path, {M1: serving(HELLO)}) as two:
        await report(two.first, RouterReport(M2, routes=1))
        await report(two.first, RouterReport("3" * 32, routes=1))
        found = (await two.first.own("GET", "/routes")).json["routers"]
        assert [one["unreachable"] for one in found] == [
            f"machine {M2}: no router runs on machine {M2}",
            f"machine {'3' * 32} is not alive",
        ]
