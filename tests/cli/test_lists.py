"""What the lists show, to the letter: fleetctl's columns and words, and ours where it has none."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from argosy.model import Entry, ExcludedUpstream, Facts, Problem, RefusedRoute, RouterDetail, RouterReport, Upstream
from argosy.router.served import digest
from argosy.state import keys
from argosy.state.records import encode
from argosy.store.base import Put
from tests.api.house import GLOBAL, HELLO, M1, M2, FakeRouter
from tests.cli.stage import Stage


@pytest_asyncio.fixture(name="stage")
async def with_units(stage: Stage) -> Stage:
    """Two machines; a unit of each kind."""
    house = stage.house
    facts = Facts(cores=2, memory=4 * 1024**3, load=0.5, kernel="6.1.0", os="Debian 12")
    await house.machine(M1, metadata={"role": "web", "region": "eu"}, facts=facts, runtime="systemd", version="0.1.0")
    await house.machine(M2, name="m2")
    await house.submit("hello.service", HELLO, "launched")
    await house.place("hello.service", M1)
    await house.observe("hello.service", M1, since=1_700_000_000.0)
    await house.submit("every.service", GLOBAL, "launched")
    await house.place("every.service", M1, M2)
    await house.observe("every.service", M1, "failed", "failed", failures=3, retry_at=2_000_000_000.0, result="exit-code", code=2)
    await house.submit("db.service", HELLO + "[X-Fleet]\nMachineMetadata=role=db\n", "launched")
    await house.submit("hello@.service", HELLO)
    return stage


async def test_list_units(stage: Stage) -> None:
    assert await stage.good("list-units") == (
        "UNIT           MACHINE               ACTIVE    SUB\n"
        "db.service     -                     inactive  waiting\n"
        "every.service  11111111.../10.0.0.1  failed    failing\n"
        "every.service  22222222.../10.0.0.2  inactive  unknown\n"
        "hello.service  11111111.../10.0.0.1  active    running\n"
    )


async def test_list_unit_files(stage: Stage) -> None:
    rows = [line.split() for line in (await stage.good("list-unit-files")).splitlines()]
    assert [(row[0], *row[2:]) for row in rows] == [
        ("UNIT", "DSTATE", "STATE", "TARGET"),
        ("db.service", "launched", "inactive", "-"),
        ("every.service", "launched", "-", "global"),
        ("hello.service", "launched", "launched", "11111111.../10.0.0.1"),
        ("hello@.service", "inactive", "inactive", "-"),
    ]
    assert rows[0][1] == "HASH"
    assert {len(row[1]) for row in rows[1:]} == {7}


async def test_list_machines(stage: Stage) -> None:
    assert await stage.good("list-machines") == (
        "MACHINE      IP        METADATA\n11111111...  10.0.0.1  region=eu,role=web\n22222222...  10.0.0.2  -\n"
    )


async def test_list_machines_tells_problems_on_stderr_so_that_the_table_stays_what_scripts_read(stage: Stage) -> None:
    problems = (Problem("systemd does not answer", blocking=True), Problem("the disk is nearly full"))
    await stage.house.machine(M2, name="m2", problems=problems)
    said = await stage.run("list-machines", "--fields=name,state,problems", "--no-legend")
    assert said.out == "m1  ready    -\nm2  blocked  systemd does not answer; the disk is nearly full\n"
    assert said.err == (
        "Warning: machine m2: systemd does not answer; nothing new is placed there\nWarning: machine m2: the disk is nearly full\n"
    )
    shown = json.loads(await stage.good("list-machines", "--json"))[1]["problems"]
    assert shown == [{"text": "systemd does not answer", "blocking": True}, {"text": "the disk is nearly full"}]


FIELDS = [
    (("list-units", "--fields", "unit,target,pid", "--no-legend"), "every.service  launched  42"),
    (("list-units", "--full", "--fields=unit,machine"), f"hello.service  {M1}/10.0.0.1"),
    (("list-units", "-l", "--fields=load,since,unit"), "loaded  1700000000  hello.service"),
    (("list-unit-files", "--fields=unit,desc,global"), "every.service   -      true"),
    (("list-unit-files", "--fields", "unit, tmachine", "-l"), f"hello.service   {M1}/10.0.0.1"),
    (("list-machines", "--full"), f"{M1}  10.0.0.1"),
    (("list-machines", "--fields=name,state,units,leader,runtime"), "m1    ready  2      -       systemd"),
    (("list-machines", "--fields=cores,memory,load,kernel,os,version"), "2      4.0G    0.50  6.1.0   Debian 12  0.1.0"),
]


@pytest.mark.parametrize(("words", "line"), FIELDS, ids=[" ".join(row[0]) for row in FIELDS])
async def test_columns_are_chosen(stage: Stage, words: tuple[str, ...], line: str) -> None:
    lines = (await stage.good(*words)).splitlines()
    assert line in lines or any(found.startswith(line) for found in lines), lines
    assert ("UNIT" in lines[0] or "MACHINE" in lines[0] or lines[0].isupper()) == ("--no-legend" not in words)


@pytest.mark.parametrize("verb", ["list-units", "list-unit-files", "list-machines"])
async def test_an_unknown_column_is_told_with_those_that_there_are(stage: Stage, verb: str) -> None:
    said = await stage.run(verb, "--fields=colour")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("Error: --fields: no field 'colour'\n  known fields: ")


async def test_json_is_what_the_api_says(stage: Stage) -> None:
    units = json.loads(await stage.good("list-units", "--json"))
    assert units == (await stage.house.own("GET", "/units")).json["units"]
    assert json.loads(await stage.good("list-unit-files", "--json")) == units
    machines = json.loads(await stage.good("list-machines", "--json"))
    assert machines == (await stage.house.own("GET", "/machines")).json["machines"]
    why = json.loads(await stage.good("why", "hello", "--json"))
    assert why["unit"] == "hello.service"
    assert json.loads(await stage.good("routes", "--json")) == []


async def test_why(stage: Stage) -> None:
    assert await stage.good("why", "db") == (
        "db.service: no machine fits: all 2 refuse it\n"
        "\n"
        "MACHINE               NAME  VERDICT          WHY\n"
        "11111111.../10.0.0.1  m1    MachineMetadata  local Machine metadata insufficient: role=db is required, it has role=web\n"
        "22222222.../10.0.0.2  m2    MachineMetadata  local Machine metadata insufficient: role=db is required, it has no role\n"
    )
    lines = (await stage.good("why", "hello")).splitlines()
    assert lines[0] == "hello.service: on 11111111: fewest units"
    assert lines[3].startswith("11111111.../10.0.0.1  m1    placed here  ")
    assert lines[4].startswith("22222222.../10.0.0.2  m2    takes it     ")
    lines = (await stage.good("why", "every")).splitlines()
    assert lines[1].startswith("m1 says: failed 3 times in a row: exit status 2; the next try is in ")
    assert await stage.good("why", "hello@.service") == (
        "hello@.service: its text cannot be placed: hello@.service is a template: start an instance of it\n"
    )
    await stage.good("unload", "--no-block", "db")
    assert (await stage.good("why", "db")).startswith("db.service: nobody asked for it: its target state is inactive")


async def report(stage: Stage, machine: str, router: FakeRouter, **more: Any) -> None:
    told = msgspec.structs.replace(router.report(machine), **more)
    await stage.house.store.commit([], [Put(keys.router(machine), encode(told))])


async def report_alone(stage: Stage, name: str, told: RouterReport) -> None:
    """What a standalone router reports, in a user's key."""
    value = encode(Entry(encode(told).decode()))
    await stage.house.store.commit([], [Put(keys.STANDALONE_ROUTERS + name, value)])


async def test_routes_are_told_once_with_the_routers_that_have_them(stage: Stage) -> None:
    both = Upstream("hello", "hello@1", "10.0.0.1:3000", stage.house.clock.now() - 61)
    one = Upstream("hello", "hello@2", "10.0.0.2:3000", stage.house.clock.now() - 5)
    refused = (RefusedRoute("/services/web/x;y/1", "it holds ';'"),)
    bad = ("certificate a is not served: a.key is another's key",)
    hosts = {"hello": "hello.example"}
    excluded = (ExcludedUpstream("hello", "hello@2", "10.0.0.2:3000", "connection refused", 1.0),)
    stage.router.served = RouterDetail((both, one), refused, hosts, excluded, complaints=bad)
    second = stage.others.routers[M2] = FakeRouter()
    second.served = RouterDetail((both,), refused, hosts)
    await report(stage, M1, stage.router, error="nginx says no")
    await report(stage, M2, second)
    said = await stage.run("routes")
    assert said.code == 0
    assert said.out == (
        "APP    HOST           INSTANCE  ADDRESS        SINCE        ROUTERS\n"
        "hello  hello.example  hello@1   10.0.0.1:3000  1min 1s ago  all\n"
        "hello  hello.example  hello@2   10.0.0.2:3000  5s ago       m1\n"
    )
    assert said.err == (
        "Refused /services/web/x;y/1: it holds ';'\n"
        "The router of 11111111.../10.0.0.1 serves what it last could: nginx says no\n"
        "The router of 11111111.../10.0.0.1 leaves out hello/hello@2 at 10.0.0.2:3000: connection refused\n"
        "On 11111111.../10.0.0.1 certificate a is not served: a.key is another's key\n"
    )
    full = (await stage.run("routes", "--full", "--no-legend")).out.splitlines()
    assert [line.split()[-1] for line in full] == ["11111111.../10.0.0.1", "11111111.../10.0.0.1", "22222222.../10.0.0.2"]


async def test_no_routes_say_how_to_make_one(stage: Stage) -> None:
    await report(stage, M1, stage.router)
    said = await stage.run("routes")
    assert (said.code, said.out) == (0, "")
    assert said.err == "No routes. A key /services/web/APP/INSTANCE = HOST:PORT makes one: see argosy announce --help.\n"


async def test_no_router_is_not_no_routes(stage: Stage) -> None:
    said = await stage.run("routes")
    assert (said.code, said.out) == (0, "")
    assert said.err == "No router reports to this cluster: install nginx on a machine, or see argosy router --help.\n"


async def test_a_router_that_cannot_be_asked_is_named_and_is_not_no_routes(stage: Stage) -> None:
    router = FakeRouter()
    router.served = RouterDetail((Upstream("hello", "1", "10.0.0.1:3000"),))
    await report(stage, M2, router)
    said = await stage.run("routes")
    assert (said.code, said.out) == (0, "")
    assert said.err == (
        "The router of 22222222.../10.0.0.2 serves 1 routes, but could not be asked which: machine m2 cannot be asked: connection refused\n"
    )


STANDALONE = RouterReport("x", 5.0, routes=1, digest=digest([("hello", "1", "10.0.0.1:3000")]), domain="example", address="10.0.0.1")


async def test_a_standalone_router_is_listed_with_the_keys_that_it_serves(stage: Stage) -> None:
    await stage.house.store.commit(
        [],
        [
            Put(f"{keys.WEB}hello/1", encode(Entry("10.0.0.1:3000"))),
            Put(f"{keys.WEB}bad;/1", encode(Entry("10.0.0.1:3000"))),
            Put(f"{keys.WEB}hello/_hidden", encode(Entry("10.0.0.1:3001"))),
            Put(f"{keys.WEB}_settings/hello", encode(Entry("max_body=1g"))),
        ],
    )
    await report_alone(stage, "box", STANDALONE)
    said = await stage.run("routes")
    (line,) = said.out.splitlines()[1:]
    assert (line.split()[:4], line.split()[-1], said.err) == (["hello", "hello.example", "1", "10.0.0.1:3000"], "m1", "")
    await report_alone(stage, "box", msgspec.structs.replace(STANDALONE, routes=7, digest="other", excluding=1))
    said = await stage.run("routes")
    assert said.out == ""
    assert said.err == (
        "The standalone router box/10.0.0.1 serves 7 routes that are not listed here: it is behind the keys, or refuses some\n"
    )


async def test_what_is_no_report_of_a_standalone_router_is_left_out(stage: Stage) -> None:
    await report_alone(stage, "x\x1b[2J", STANDALONE)
    await report_alone(stage, "big", msgspec.structs.replace(STANDALONE, error="x" * 10_000))
    await stage.house.store.commit([], [Put(keys.STANDALONE_ROUTERS + "broken", encode(Entry("{")))])
    assert "No router reports" in (await stage.run("routes")).err


async def test_an_empty_cluster_shows_headings_only(stage: Stage) -> None:
    for name in ("hello.service", "every.service", "db.service", "hello@.service"):
        await stage.good("destroy", name)
    assert await stage.good("list-unit-files") == "UNIT  HASH  DSTATE  STATE  TARGET\n"
    assert await stage.good("list-unit-files", "--no-legend") == ""
