"""Rollouts through the API: what is taken, what is refused, and what is shown of one while it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from argosy.model import Rollout, RolloutGroup, RolloutProgress, RolloutState, RolloutStep, Stage
from argosy.state import desired, keys
from argosy.state.records import decode, encode
from argosy.store.base import Put
from tests.api.house import HELLO, OTHER, House, a_house

NAMES = ("web@1.service", "web@2.service")


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with a_house(tmp_path) as made:
        for name in NAMES:
            await made.submit(name, HELLO, "launched")
        await made.submit("web@.service", HELLO)
        yield made


async def revision(house: House, name: str) -> int:
    stored = await desired.unit(house.store, name)
    return stored.revision if stored else 0


async def order(house: House, *names: str, **more: Any) -> dict[str, Any]:
    units = [{"name": name, "revision": await revision(house, name), "text": 0} for name in names or NAMES]
    return {"units": units, "texts": [OTHER], **more}


async def recorded(house: House, name: str) -> Rollout:
    record = await house.store.get(keys.rollout(name))
    assert record is not None
    return decode(Rollout, record.value, record.key)


async def test_a_request_holds_each_text_once_and_what_the_units_were(house: House) -> None:
    template = {"name": "web@.service", "revision": await revision(house, "web@.service"), "text": 0}
    reply = await house.own("POST", "/rollouts", await order(house, templates=[template], parallel=2, start_first=True))
    assert reply.status == 201, reply.body
    assert (reply.json["rollout"]["name"], reply.json["rollout"]["state"]) == ("web-1", "running")
    found = await recorded(house, "web-1")
    assert found.texts == (OTHER, HELLO)
    assert [(unit.name, unit.text, unit.before, unit.revision) for unit in found.units] == [
        (name, 0, 1, await revision(house, name)) for name in NAMES
    ]
    assert (found.rules.parallel, found.rules.start_first, found.templates[0].name) == (2, True, "web@.service")


BAD: list[tuple[str, dict[str, Any], int, str]] = [
    ("a unit that does not exist", {"units": [{"name": "no.service", "revision": 1, "text": 0}]}, 404, "unit no.service does not exist"),
    ("another revision", {"units": [{"name": NAMES[0], "revision": 1, "text": 0}]}, 409, "stands at revision"),
    ("a template as a unit", {"units": [{"name": "web@.service", "revision": 3, "text": 0}]}, 400, "is a template"),
    ("a text that is not there", {"texts": []}, 400, "there is no text 0 among 0"),
    ("a text that breaks rules", {"texts": ["[Service\n"]}, 400, "web@1.service"),
    ("no units", {"units": []}, 400, "units"),
    ("a name that is none", {"name": "../x"}, 400, "is no name of a rollout"),
    ("nothing at a time", {"parallel": 0}, 400, "parallel"),
]


@pytest.mark.parametrize(("sentence", "change", "status", "message"), BAD, ids=[row[0] for row in BAD])
async def test_a_bad_request_is_refused_with_what_is_wrong(
    house: House, sentence: str, change: dict[str, Any], status: int, message: str
) -> None:
    reply = await house.own("POST", "/rollouts", {**(await order(house)), **change})
    assert (reply.status, message in reply.body.decode()) == (status, True), reply.body
    assert (await house.own("GET", "/rollouts")).json["rollouts"] == []


async def test_more_text_than_one_record_holds_is_refused(house: House) -> None:
    names = [f"large@{number}.service" for number in range(5)]
    texts = [f"[Service]\nExecStart=/bin/true {name}\n" + "# x\n" * 60_000 for name in names]
    for name in names:
        await house.submit(name, HELLO)
    units = [{"name": name, "revision": await revision(house, name), "text": place} for place, name in enumerate(names)]
    reply = await house.own("POST", "/rollouts", {"units": units, "texts": texts})
    assert reply.status == 413, reply.body
    assert "the texts of a rollout of 5 units take 1500732 bytes" in reply.json["error"]["message"]
    assert reply.json["error"]["remedy"] == "roll out fewer units at once"


async def test_a_unit_that_is_not_launched_is_not_restarted(house: House) -> None:
    await house.submit("idle.service")
    units = [{"name": "idle.service", "revision": await revision(house, "idle.service"), "restart": True}]
    reply = await house.own("POST", "/rollouts", {"units": units})
    assert (reply.status, b"unit idle.service is not launched" in reply.body) == (409, True)


async def test_of_two_that_share_a_unit_the_second_is_refused(house: House) -> None:
    assert (await house.own("POST", "/rollouts", await order(house, NAMES[0]))).status == 201
    refused = await house.own("POST", "/rollouts", await order(house))
    assert refused.status == 409
    assert refused.json["error"]["message"] == "unit web@1.service is part of rollout web-1, which has not ended"
    assert (await house.own("POST", "/rollouts", await order(house, NAMES[1]))).json["rollout"]["name"] == "web-2"
    assert (await house.own("POST", "/rollouts", await order(house, NAMES[1], name="web-1"))).status == 409


async def test_of_many_that_are_asked_for_at_once_and_share_a_unit_one_is_taken(house: House) -> None:
    wanted = await order(house)
    replies = await asyncio.gather(*(house.own("POST", "/rollouts", wanted) for _ in range(8)))
    assert sorted(reply.status for reply in replies) == [201, *[409] * 7]


async def test_what_is_wanted_of_one_is_changed_until_it_has_ended(house: House) -> None:
    await house.own("POST", "/rollouts", await order(house))
    assert (await house.own("PUT", "/rollouts/web-1", {"wish": "pause"})).json["rollout"]["state"] == "paused"
    assert (await house.own("PUT", "/rollouts/web-1", {"wish": "run"})).json["rollout"]["state"] == "running"
    assert (await house.own("PUT", "/rollouts/web-1", {"wish": "abort"})).status == 200
    assert (await house.own("PUT", "/rollouts/web-1", {"wish": "run"})).status == 409
    assert (await house.own("PUT", "/rollouts/web-1", {"wish": "rollback"})).status == 200
    assert (await house.own("PUT", "/rollouts/web-1", {"wish": "hurry"})).status == 400
    assert (await house.own("PUT", "/rollouts/none", {"wish": "run"})).status == 404


async def test_a_blocking_read_ends_when_there_is_a_step(house: House) -> None:
    created = (await house.own("POST", "/rollouts", await order(house))).json["rollout"]["created"]
    first = (await house.own("GET", "/rollouts/web-1")).json
    waiting = asyncio.create_task(house.own("GET", f"/rollouts/web-1?index={first['index']}&wait=20"))
    progress = RolloutProgress(
        "web-1",
        created,
        RolloutState.RUNNING,
        "it starts",
        (RolloutGroup(NAMES[0], (NAMES[0],), Stage.CHANGING, "it starts", touched=True),),
        (RolloutStep(1, 5.0, "web@1.service: updating"),),
    )
    await house.store.commit([], [Put(keys.rollout_progress("web-1"), encode(progress))])
    shown = (await asyncio.wait_for(waiting, 10)).json["rollout"]
    assert shown["steps"] == [{"number": 1, "at": 5.0, "text": "web@1.service: updating"}]
    assert shown["groups"] == [{"name": NAMES[0], "units": [NAMES[0]], "stage": "changing", "reason": "it starts", "changed": True}]
    listed = (await house.own("GET", "/rollouts")).json["rollouts"]
    assert [("steps" in view, view["reason"]) for view in listed] == [(False, "it starts")]


async def test_progress_of_an_earlier_one_of_the_same_name_does_not_count(house: House) -> None:
    await house.store.commit([], [Put(keys.rollout_progress("web-1"), encode(RolloutProgress("web-1", 1.0, RolloutState.DONE, ended=2.0)))])
    await house.own("POST", "/rollouts", await order(house))
    assert (await house.own("GET", "/rollouts/web-1")).json["rollout"]["state"] == "running"
