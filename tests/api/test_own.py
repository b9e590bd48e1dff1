"""Our own API over HTTP: units, batches, blocking reads, machines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from argosy.model import RouterReport
from argosy.state import desired, keys
from argosy.state.records import encode
from argosy.store.base import Put
from tests import stored
from tests.api.house import GLOBAL, HELLO, M1, M2, OTHER, House, a_house


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with a_house(tmp_path) as found:
        yield found


async def test_a_unit_is_created_read_changed_and_destroyed(house: House) -> None:
    created = await house.own("PUT", "/units/hello.service", {"text": HELLO})
    assert created.status == 201
    assert created.json | {"revision": 0, "index": 0} == {
        "name": "hello.service",
        "created": True,
        "changed": True,
        "revision": 0,
        "index": 0,
    }
    started = await house.own("PUT", "/units/hello.service", {"target": "launched"})
    assert (started.status, started.json["launch"], started.json["target"]) == (200, 1, "launched")
    await house.obey("hello.service")
    unit = (await house.own("GET", "/units/hello.service")).json["unit"]
    assert unit["text"] == HELLO
    assert unit["description"] == "Hello"
    assert unit["current"] == "launched"
    assert [place["machine"] for place in unit["places"]] == [M1]
    assert [(state["active"], state["pid"]) for state in unit["states"]] == [("active", 42)]
    assert (await house.own("DELETE", "/units/hello.service")).status == 200
    assert (await house.own("GET", "/units/hello.service")).status == 404
    assert (await house.own("DELETE", "/units/hello.service")).json["error"]["code"] == 404


async def test_the_text_is_kept_byte_for_byte(house: House) -> None:
    text = "# first\r\nDescription=bare\n\n[Service]\nExecStart=/bin/sh -c 'echo \\\n  ü %i $X'\n;last without a newline"
    await house.submit("odd.service", text)
    assert (await house.own("GET", "/units/odd.service")).json["unit"]["text"] == text
    assert (await house.own("GET", "/units?text=true")).json["units"][0]["text"] == text
    assert "text" not in (await house.own("GET", "/units")).json["units"][0]


async def test_an_instance_takes_its_templates_text_and_a_template_is_not_started(house: House) -> None:
    await house.submit("hello@.service")
    assert (await house.own("PUT", "/units/hello@1.service", {"target": "launched"})).status == 201
    assert (await house.own("GET", "/units/hello@1.service")).json["unit"]["text"] == HELLO
    refused = await house.own("PUT", "/units/hello@.service", {"target": "launched"})
    assert refused.status == 400
    assert "cannot activate template" in refused.json["error"]["message"]
    assert "hello@1.service" in refused.json["error"]["remedy"]


async def test_of_two_clients_that_replace_one_unit_at_once_exactly_one_wins(house: House) -> None:
    await house.submit("hello.service")
    revision = (await house.own("GET", "/units/hello.service")).json["unit"]["revision"]
    bodies = [{"text": HELLO + f"# {number}\n[Install]\nAlias={number}\n", "replace": True, "revision": revision} for number in range(5)]
    replies = await asyncio.gather(*(house.own("PUT", "/units/hello.service", body) for body in bodies))
    assert sorted(reply.status for reply in replies) == [200, 409, 409, 409, 409]
    winner = next(body for body, reply in zip(bodies, replies, strict=True) if reply.status == 200)
    assert (await house.own("GET", "/units/hello.service")).json["unit"]["text"] == winner["text"]


async def test_starts_at_the_same_time_are_one_launch(house: House) -> None:
    await house.submit("hello.service")
    replies = await asyncio.gather(*(house.own("PUT", "/units/hello.service", {"target": "launched"}) for _ in range(8)))
    assert {reply.status for reply in replies} == {200}
    assert {reply.json["launch"] for reply in replies} == {1}


async def test_a_batch_writes_many_units_in_few_commits_and_each_fails_by_itself(house: House) -> None:
    await house.submit("a@.service")
    before = (await house.own("GET", "/units")).json["index"]
    wishes: list[dict[str, Any]] = [{"name": f"a@{number}.service", "target": "launched"} for number in range(1, 121)]
    wishes[10] = {"name": "b@1.service", "target": "launched"}
    wishes[20] = {"name": "no suffix", "target": "launched"}
    reply = await house.own("POST", "/units", {"units": wishes})
    results = reply.json["results"]
    assert [result["name"] for result in results] == [wish["name"] for wish in wishes]
    assert results[10]["error"]["code"] == 404
    assert results[20]["error"]["code"] == 400
    assert sum(result.get("created", False) for result in results) == 118
    assert reply.json["index"] - before == 2  # 64 and 54 units
    assert len(await stored.units(house.store)) == 119


async def test_a_batch_of_large_units_is_written_in_commits_that_fit(house: House) -> None:
    text = HELLO + "# " + 'ü"' * 80_000 + "\n"
    wishes = [{"name": f"u{number}.service", "text": text} for number in range(12)]
    results = (await house.own("POST", "/units", {"units": wishes})).json["results"]
    assert [result.get("error") for result in results] == [None] * 12


async def test_a_batch_may_bring_the_template_of_its_instances(house: House) -> None:
    wishes = [{"name": "a@1.service", "target": "launched"}, {"name": "a@.service", "text": HELLO}, {"name": "a@2.service"}]
    results = (await house.own("POST", "/units", {"units": wishes})).json["results"]
    assert [result["created"] for result in results] == [True, True, True]
    assert (await house.own("GET", "/units/a@2.service")).json["unit"]["text"] == HELLO


async def test_a_batch_that_names_a_unit_twice_does_both_in_order(house: House) -> None:
    wishes = [{"name": "a.service", "text": HELLO}, {"name": "a.service", "target": "launched"}, {"name": "a.service", "restart": True}]
    results = (await house.own("POST", "/units", {"units": wishes})).json["results"]
    assert [result.get("launch", 0) for result in results] == [0, 1, 2]


async def test_a_batch_races_with_a_single_write_and_loses_nothing(house: House) -> None:
    await house.submit("a.service")
    wishes = [{"name": f"u{number}.service", "text": HELLO} for number in range(40)] + [{"name": "a.service", "target": "launched"}]
    batch, single = await asyncio.gather(
        house.own("POST", "/units", {"units": wishes}), house.own("PUT", "/units/a.service", {"text": OTHER, "replace": True})
    )
    assert single.status == 200
    assert not [result for result in batch.json["results"] if "error" in result]
    unit = (await house.own("GET", "/units/a.service")).json["unit"]
    assert (unit["text"], unit["target"]) == (OTHER, "launched")


async def test_a_blocking_read_answers_when_its_unit_changes_and_not_for_others(house: House) -> None:
    await house.submit("a.service")
    await house.submit("b.service")
    index = (await house.own("GET", "/units")).json["index"]
    waiting = asyncio.create_task(house.own("GET", f"/units?name=a.service&index={index}&wait=30"))
    await house.place("b.service")
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await house.place("a.service")
    answer = (await asyncio.wait_for(waiting, 5)).json
    assert [unit["name"] for unit in answer["units"]] == ["a.service"]
    assert answer["units"][0]["places"]
    assert answer["index"] > index


async def test_a_blocking_read_that_is_late_answers_at_once(house: House) -> None:
    await house.submit("a.service")
    index = (await house.own("GET", "/units/a.service")).json["index"]
    await house.place("a.service")
    answer = await asyncio.wait_for(house.own("GET", f"/units/a.service?index={index}&wait=30"), 5)
    assert answer.json["unit"]["places"]


async def test_a_blocking_read_after_an_index_that_the_store_never_had_answers_at_once(house: House) -> None:
    """The client knows it from the time before the store was restored."""
    await house.submit("a.service")
    index = (await house.own("GET", "/units")).json["index"]
    for path in ("/units", "/machines", "/routes"):
        answer = await asyncio.wait_for(house.own("GET", f"{path}?index={index + 1000}&wait=30"), 5)
        assert answer.json["index"] == index


async def test_a_blocking_read_ends_when_its_wait_is_over(house: House) -> None:
    await house.submit("a.service")
    index = (await house.own("GET", "/units")).json["index"]
    answer = await house.own("GET", f"/units?index={index}&wait=0.05")
    assert answer.status == 200
    assert answer.json["index"] >= index


async def test_machines_are_listed_with_orders_counts_and_leader(house: House) -> None:
    await house.machine(M2, metadata={"role": "web", "disk": "ssd"})
    await house.submit("a.service", target="launched")
    await house.place("a.service", M2)
    await house.observe("a.service", M2)
    await desired.change_order(house.store, M2, metadata={"disk": None, "rack": "r1"})
    assert (await house.own("POST", "/machines/m2/cordon")).json["cordoned"] is True
    machines = (await house.own("GET", "/machines")).json["machines"]
    assert [machine["id"] for machine in machines] == [M1, M2]
    assert machines[1]["metadata"] == {"role": "web", "rack": "r1"}
    assert (machines[1]["units"], machines[1]["active"], machines[1]["cordoned"]) == (1, {"active": 1}, True)
    assert machines[0].get("cordoned", False) is False


async def test_machines_in_brief_have_no_counts_and_wait_for_no_unit(house: House) -> None:
    await house.machine(M2)
    index = (await house.own("GET", "/machines?brief=true")).json["index"]
    await house.submit("a.service", target="launched")
    await house.place("a.service", M2)
    await house.observe("a.service", M2)
    answer = (await house.own("GET", f"/machines?brief=true&index={index}&wait=0.2")).json
    assert [(machine["id"], "units" in machine) for machine in answer["machines"]] == [(M1, False), (M2, False)]
    assert (await house.own("GET", "/machines")).json["machines"][1]["units"] == 1


@pytest.mark.parametrize("called", [M2, "2222", "m2"])
async def test_machines_are_called_by_id_prefix_or_name(house: House, called: str) -> None:
    await house.machine(M2)
    assert (await house.own("POST", f"/machines/{called}/drain")).json | {"index": 0} == {
        "machine": M2,
        "cordoned": True,
        "draining": True,
        "index": 0,
    }
    assert (await house.own("POST", f"/machines/{called}/uncordon")).json["draining"] is False


async def test_a_machine_that_could_be_two_or_none_is_refused(house: House) -> None:
    await house.machine("2" * 31 + "0")
    await house.machine(M2)
    assert (await house.own("POST", "/machines/22/cordon")).status == 400
    assert (await house.own("POST", "/machines/m9/cordon")).status == 404


async def test_why_tells_for_every_machine(house: House) -> None:
    await house.machine(M2, metadata={"role": "web"})
    await house.submit("a.service", "[Service]\nExecStart=/bin/true\n[X-Fleet]\nMachineMetadata=role=web\n", "launched")
    await house.place("a.service", M2, reason="fewest units (0)")
    why = (await house.own("GET", "/units/a.service/why")).json
    assert why["reason"] == "on 22222222: fewest units (0)"
    refused, placed = why["machines"]
    assert (refused["machine"], refused["filter"]) == (M1, "MachineMetadata")
    assert "role" in refused["reason"]
    assert (placed["placed"], placed["reason"]) == (True, "it is placed here: fewest units (0)")


@pytest.mark.parametrize(
    ("name", "text", "target", "said"),
    [
        ("a.service", HELLO, "inactive", "nobody asked for it"),
        ("a@.service", HELLO, "inactive", "template"),
        ("a.service", "[Service]\nExecStart=/x\n[X-Fleet]\nMachineID=nobody\n", "launched", "no machine fits"),
        ("a.service", HELLO, "launched", "about to be placed"),
    ],
)
async def test_why_tells_why_a_unit_is_nowhere(house: House, name: str, text: str, target: str, said: str) -> None:
    await house.submit(name, text, target)
    assert said in (await house.own("GET", f"/units/{name}/why")).json["reason"]


async def test_a_global_unit_is_launched_once_it_is_on_every_machine_where_it_is_placed(house: House) -> None:
    await house.machine(M2)
    await house.submit("g.service", GLOBAL, "launched")
    await house.place("g.service", M1, M2)
    await house.observe("g.service", M1)
    unit = (await house.own("GET", "/units/g.service")).json["unit"]
    assert (unit["everywhere"], unit.get("current", "inactive")) == (True, "inactive")
    await house.observe("g.service", M2)
    assert (await house.own("GET", "/units/g.service")).json["unit"]["current"] == "launched"


async def test_routes_are_told_in_full_and_briefly_to_who_only_looks_for_the_routers(house: House) -> None:
    report = RouterReport(M1, routes=1, listen=("0.0.0.0:80",), tls_listen=("0.0.0.0:443",))
    await house.store.commit([], [Put(keys.router(M1), encode(report))])
    (full,) = (await house.own("GET", "/routes")).json["routers"]
    assert (full["routes"], full["unreachable"]) == (1, f"no router runs on machine {M1}")
    reply = await house.own("GET", "/routes?brief=true")
    assert reply.json["routers"] == [{"machine": M1, "listen": ["0.0.0.0:80"], "tls_listen": ["0.0.0.0:443"]}]


async def test_version_health_and_metrics(house: House) -> None:
    await house.submit("a.service", target="launched")
    await house.obey("a.service")
    assert (await house.own("GET", "/version")).json["machine"] == M1
    assert (await house.own("GET", "/health")).json == {"healthy": True, "machine": M1}
    metrics = (await house.ask("GET", "/metrics")).body.decode()
    assert 'argosy_units{current="launched",target="launched"} 1.0' in metrics
    assert 'argosy_requests_total{door="socket",status="201"} 1.0' in metrics
    assert "argosy_store_up 1.0" in metrics


async def test_a_stored_record_that_is_broken_harms_no_other(house: House) -> None:
    await house.submit("a.service")
    await house.store.commit([], [Put("/argosy/units/broken.service", b"{"), Put("/argosy/states/x/a.service", b"[]")])
    assert [unit["name"] for unit in (await house.own("GET", "/units")).json["units"]] == ["a.service"]
