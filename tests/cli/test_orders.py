"""argosy cordon, uncordon and drain."""

from __future__ import annotations

import json

import pytest

from argosy.model import Order
from argosy.state import keys
from argosy.state.records import decode
from argosy.store.base import Put
from tests.api.house import GLOBAL, HELLO, M1, M2
from tests.cli.stage import Stage
from tests.router.web import until_async


async def order(stage: Stage, machine: str = M1) -> Order:
    record = await stage.house.store.get(keys.order(machine))
    return decode(Order, record.value, record.key) if record else Order()


@pytest.mark.parametrize("called", ["m1", M1, "1111"])
async def test_a_machine_is_cordoned_and_takes_units_again(stage: Stage, called: str) -> None:
    assert await stage.good("cordon", called) == (
        f"Machine 11111111... is cordoned: nothing new is placed there. Undo with: argosy uncordon {called}\n"
    )
    assert await order(stage) == Order(cordoned=True)
    assert await stage.good("list-machines", "--fields=name,state", "--no-legend") == "m1  cordoned\n"
    assert await stage.good("uncordon", called) == "Machine 11111111... takes units again\n"
    assert await order(stage) == Order()


async def test_orders_as_json(stage: Stage) -> None:
    answer = json.loads(await stage.good("cordon", "m1", "--json"))
    assert (answer["machine"], answer["cordoned"], answer["draining"]) == (M1, True, False)
    assert json.loads(await stage.good("drain", "m1", "--json"))["draining"] is True


@pytest.mark.parametrize("verb", ["cordon", "uncordon", "drain"])
async def test_a_machine_that_is_not_there_or_not_the_only_one(stage: Stage, verb: str) -> None:
    said = await stage.run(verb, "m9")
    assert said.code == 1
    assert said.err.startswith("Error: ")
    assert "m9" in said.err
    await stage.house.machine("11112222" + "0" * 24, name="mx")
    said = await stage.run(verb, "1111")
    assert said.code != 0
    assert "1111" in said.err


async def test_draining_waits_until_the_last_unit_has_moved_away(stage: Stage) -> None:
    house = stage.house
    await house.machine(M2)
    for name in ("a.service", "b.service"):
        await house.submit(name, HELLO, "launched")
        await house.place(name, M1)
    await house.submit("every.service", GLOBAL, "launched")
    await house.place("every.service", M1, M2)
    process = await stage.start("drain", "m1")

    async def draining() -> bool:
        return (await order(stage)).draining

    await until_async(draining, "the order is given")
    assert process.stdout is not None
    for name in ("b.service", "a.service"):
        await house.place(name, M2)
        await house.unplace(name, M1)
        assert await process.stdout.readline() == f"Unit {name} moved away\n".encode()
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert out.decode() == "Machine 11111111... is drained. Undo with: argosy uncordon m1\n"
    assert await stage.good("list-machines", "--fields=name,state", "--no-legend") == "m1  draining\nm2  ready\n"


async def test_draining_without_waiting_and_with_a_limit(stage: Stage) -> None:
    await stage.house.submit("a.service", HELLO, "launched")
    await stage.house.place("a.service")
    assert await stage.good("drain", "--no-block", "m1") == "Machine 11111111... is draining. Undo with: argosy uncordon m1\n"
    said = await stage.run("drain", "--block-attempts", "1", "m1")
    assert said == (1, "", "Error: still on m1: a.service\n  argosy why a.service tells what is in the way\n")


async def test_a_finished_job_holds_up_no_drain(stage: Stage) -> None:
    await stage.house.submit("job.service", HELLO, "launched")
    await stage.house.place("job.service", M1)
    record = await stage.house.store.get(keys.placement(M1, "job.service"))
    assert record is not None
    finished = json.dumps({**json.loads(record.value), "finished": True}).encode()
    await stage.house.store.commit([], [Put(keys.placement(M1, "job.service"), finished)])
    assert await stage.good("drain", "m1") == "Machine 11111111... is drained. Undo with: argosy uncordon m1\n"
