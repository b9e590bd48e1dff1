"""fleet's API v1: what fleetctl sends and expects, recorded with the real one against a real fleetd; and fleet's rules in its own words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from argosy.api.fleet import shapes
from argosy.model import UnitState
from argosy.state import keys
from argosy.state.records import encode
from argosy.store.base import Put
from argosy.unit.parse import parse
from tests.api.house import GLOBAL, HELLO, M1, M2, House, a_house, raw

OPTIONS = [
    {"section": "Unit", "name": "Description", "value": "Hello"},
    {"section": "Service", "name": "ExecStart", "value": "/bin/sleep 1000"},
]
CHANGED = [{"section": "Service", "name": "ExecStart", "value": "/bin/sleep 2000"}]
JSON = {"Content-Type": "application/json"}


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with a_house(tmp_path) as found:
        yield found


# What fleetctl 1.0.0 does, command by command: (method, path, body or None, status, expected JSON or None for an empty body). "obey" plays
# engine and agent for the unit that it names.
Step = tuple[str, str, Any, int, Any]
UNIT = {"name": "hello.service", "options": OPTIONS}
SESSION: list[tuple[str, list[Step]]] = [
    ("list-machines", [("GET", "/machines?alt=json", None, 200, {"machines": [{"id": M1, "primaryIP": "10.0.0.1"}]})]),
    ("list-units with none", [("GET", "/state?alt=json", None, 200, {})]),
    ("list-unit-files with none", [("GET", "/units?alt=json", None, 200, {})]),
    (
        "submit",
        [
            ("GET", "/units/hello.service?alt=json", None, 404, {"error": {"code": 404, "message": "unit does not exist"}}),
            ("PUT", "/units/hello.service?alt=json", UNIT, 201, None),
            ("GET", "/units/hello.service?alt=json", None, 200, UNIT | {"currentState": "inactive", "desiredState": "inactive"}),
        ],
    ),
    (
        "load",
        [
            ("PUT", "/units/hello.service?alt=json", {"desiredState": "loaded", "name": "hello.service"}, 204, None),
            ("GET", "/units/hello.service", None, 200, UNIT | {"currentState": "inactive", "desiredState": "loaded"}),
            ("obey", "hello.service", None, 0, None),
            ("GET", "/units/hello.service", None, 200, UNIT | {"currentState": "loaded", "desiredState": "loaded", "machineID": M1}),
        ],
    ),
    (
        "start",
        [
            ("PUT", "/units/hello.service", {"desiredState": "launched", "name": "hello.service"}, 204, None),
            ("obey", "hello.service", None, 0, None),
            ("GET", "/units/hello.service", None, 200, UNIT | {"currentState": "launched", "desiredState": "launched", "machineID": M1}),
            (
                "GET",
                "/state/hello.service",
                None,
                200,
                {
                    "name": "hello.service",
                    "hash": parse(HELLO).hash,
                    "machineID": M1,
                    "systemdLoadState": "loaded",
                    "systemdActiveState": "active",
                    "systemdSubState": "running",
                },
            ),
        ],
    ),
    (
        "stop",
        [
            ("PUT", "/units/hello.service", {"desiredState": "loaded", "name": "hello.service"}, 204, None),
            ("obey", "hello.service", None, 0, None),
            ("GET", "/units/hello.service", None, 200, UNIT | {"currentState": "launched", "desiredState": "loaded", "machineID": M1}),
            ("GET", "/units/hello.service", None, 200, UNIT | {"currentState": "loaded", "desiredState": "loaded", "machineID": M1}),
        ],
    ),
    (
        "unload",
        [
            ("PUT", "/units/hello.service", {"desiredState": "inactive", "name": "hello.service"}, 204, None),
            ("obey", "hello.service", None, 0, None),
            ("GET", "/units/hello.service", None, 200, UNIT | {"currentState": "inactive", "desiredState": "inactive"}),
        ],
    ),
    ("cat", [("GET", "/units/hello.service?alt=json", None, 200, UNIT | {"currentState": "inactive", "desiredState": "inactive"})]),
    (
        "submit --replace",
        [
            ("PUT", "/units/hello.service", {"name": "hello.service", "options": CHANGED}, 201, None),
            (
                "GET",
                "/units/hello.service",
                None,
                200,
                {"name": "hello.service", "options": CHANGED, "currentState": "inactive", "desiredState": "inactive"},
            ),
        ],
    ),
    (
        "destroy",
        [
            ("DELETE", "/units/hello.service", None, 204, None),
            ("GET", "/units/hello.service", None, 404, {"error": {"code": 404, "message": "unit does not exist"}}),
            ("DELETE", "/units/hello.service", None, 404, {"error": {"code": 404, "message": "unit does not exist"}}),
        ],
    ),
    (
        "start an instance",
        [
            ("PUT", "/units/hello%40.service", {"name": "hello@.service", "options": OPTIONS}, 201, None),
            ("GET", "/units/hello%401.service", None, 404, {"error": {"code": 404, "message": "unit does not exist"}}),
            ("PUT", "/units/hello%401.service", {"name": "hello@1.service", "options": OPTIONS}, 201, None),
            ("PUT", "/units/hello%401.service", {"desiredState": "launched", "name": "hello@1.service"}, 204, None),
            ("obey", "hello@1.service", None, 0, None),
            (
                "GET",
                "/units",
                None,
                200,
                {
                    "units": [
                        {"name": "hello@.service", "options": OPTIONS, "desiredState": "inactive", "currentState": "inactive"},
                        {
                            "name": "hello@1.service",
                            "options": OPTIONS,
                            "desiredState": "launched",
                            "currentState": "launched",
                            "machineID": M1,
                        },
                    ]
                },
            ),
        ],
    ),
]


async def test_a_session_of_fleetctl(house: House) -> None:
    for command, steps in SESSION:
        for method, path, body, status, expected in steps:
            if method == "obey":
                await house.obey(path)
                continue
            reply = await house.fleet(method, path, body)
            assert reply.status == status, (command, path, reply.body)
            assert (reply.json if reply.body else None) == expected, (command, path)


async def test_a_unit_that_was_told_to_stop_is_seen_launched_once_more_as_fleetctls_restart_expects(house: House) -> None:
    async def seen() -> str:
        return str((await house.fleet("GET", "/units/a.service")).json["currentState"])

    await house.submit("a.service", target="launched")
    await house.obey("a.service")
    await house.fleet("PUT", "/units/a.service", {"desiredState": "loaded"})
    await house.obey("a.service")
    assert [await seen(), await seen()] == ["launched", "loaded"]
    await house.fleet("PUT", "/units/a.service", {"desiredState": "launched"})
    await house.obey("a.service")
    await house.fleet("PUT", "/units/a.service", {"desiredState": "inactive"})
    await house.obey("a.service")
    assert await seen() == "inactive"


async def test_starting_twice_and_restarting_count_launches_as_they_should(house: House) -> None:
    await house.submit("a.service")
    launches = []
    for state in ("launched", "launched", "loaded", "launched", "inactive", "launched"):
        await house.fleet("PUT", "/units/a.service", {"desiredState": state})
        launches.append((await house.own("GET", "/units/a.service")).json["unit"].get("launch", 0))
    assert launches == [1, 1, 1, 2, 2, 3]


FAULTS: list[tuple[str, str, str, Any, int, str]] = [
    ("a unit that is not there needs options", "PUT", "/units/a.service", {}, 409, "unit does not exist and options field empty"),
    (
        "a state for it does too",
        "PUT",
        "/units/a.service",
        {"desiredState": "launched"},
        409,
        "unit does not exist and options field empty",
    ),
    ("a known unit needs a state", "PUT", "/units/known.service", {}, 409, "must provide DesiredState to update existing unit"),
    (
        "the same options change nothing",
        "PUT",
        "/units/known.service",
        {"options": OPTIONS},
        409,
        "must provide DesiredState to update existing unit",
    ),
    (
        "names must agree",
        "PUT",
        "/units/a.service",
        {"name": "b.service"},
        400,
        'name in URL "a.service" differs from unit name in request body "b.service"',
    ),
    ("a template does not run", "PUT", "/units/t@.service", {"desiredState": "launched"}, 400, 'cannot activate template "t@.service"'),
    ("states have three names", "PUT", "/units/known.service", {"desiredState": "running"}, 400, 'invalid value "running" for JobState'),
    ("collections are read", "DELETE", "/units", None, 405, "only GET supported against this resource"),
    ("units are read, set and deleted", "POST", "/units/a.service", {}, 405, "only GET, PUT and DELETE supported against this resource"),
    ("states are read", "PUT", "/state", {}, 405, "only GET supported against this resource"),
    ("a state is read", "DELETE", "/state/a.service", None, 405, "only GET supported against this resource"),
    ("machines are read and patched", "PUT", "/machines", {}, 405, "only GET and PATCH supported against this resource"),
    ("the description is read", "PUT", "/discovery", {}, 400, "only HTTP GET supported against this resource"),
    ("no state", "GET", "/state/known.service", None, 404, "unit state does not exist"),
    ("no unit", "GET", "/units/none.service", None, 404, "unit does not exist"),
    ("no resource", "GET", "/nothing", None, 404, ""),
    ("nothing deeper", "GET", "/units/a/b", None, 404, ""),
    ("nothing below a slash", "GET", "/units/", None, 404, ""),
    ("no machine by id", "GET", f"/machines/{M1}", None, 404, ""),
    ("the root", "GET", "", None, 405, ""),
    ("a token that is none", "GET", "/units?nextPageToken=%21", None, 400, "illegal base64 data in the page token"),
    ("a short token", "GET", "/units?nextPageToken=ZAA%3D", None, 400, "unexpected EOF"),
    ("a token of another size", "GET", "/units?nextPageToken=MgABAA%3D%3D", None, 400, "token limit must be 100"),
    ("a token of page 0", "GET", "/units?nextPageToken=ZAAAAA%3D%3D", None, 400, "token page must be greater than zero"),
    ("two tokens", "GET", "/units?nextPageToken=x&nextPageToken=y", None, 400, "too many values for page token"),
]


@pytest.mark.parametrize(("said", "method", "path", "body", "status", "message"), FAULTS, ids=[fault[0] for fault in FAULTS])
async def test_faults_are_told_in_fleets_words(
    house: House, said: str, method: str, path: str, body: Any, status: int, message: str
) -> None:
    await house.submit("known.service")
    await house.submit("t@.service")
    reply = await house.fleet(method, path, body)
    assert (reply.status, reply.json) == (status, {"error": {"code": status, "message": message}})
    assert reply.headers["Content-Type"].startswith("application/json")


COMBINATIONS = [
    (["MachineID=x", "MachineOf=b.service"], "MachineID cannot be used with Peers"),
    (["MachineID=x", "Conflicts=b*"], "MachineID cannot be used with Conflicts"),
    (["MachineID=x", "Global=true"], "MachineID cannot be used with Global"),
    (["MachineID=x", "Replaces=b"], "MachineID cannot be used with Replaces"),
    (["Global=true", "MachineOf=b.service"], "Global cannot be used with Peers"),
    (["Global=yes", "Replaces=b"], "Global cannot be used with Replaces"),
    (["Conflicts=b", "Replaces=c"], "Conflicts cannot be used with Replaces"),
    (["MachineOf=b.service", "Conflicts=b*"], 'unresolvable requirements: peer "b.service" matches conflict "b*"'),
    (["MachineOf=b.service", "Replaces=b*"], 'unresolvable requirements: peer "b.service" matches replace "b*"'),
    (["Machine=x"], 'unrecognized requirement in [X-Fleet] section: "Machine"'),
]


@pytest.mark.parametrize(("lines", "message"), COMBINATIONS)
async def test_what_cannot_be_asked_together_is_refused_in_fleets_words(house: House, lines: list[str], message: str) -> None:
    options = OPTIONS + [{"section": "X-Fleet", "name": line.partition("=")[0], "value": line.partition("=")[2]} for line in lines]
    reply = await house.fleet("PUT", "/units/a.service", {"options": options})
    assert reply.status == 400
    assert reply.json["error"]["message"].startswith(message)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a", 'unit name must contain "."'),
        ("a.", 'unit name cannot end in "."'),
        ("a.exe", 'invalid unit type: "exe"'),
        ("a@1.mount", 'invalid unit type for template: "mount"'),
        ("a b.service", "invalid character ' ' in unit name"),
        ("ä.service", "invalid character 'ä' in unit name"),
        ("@a.service", 'unit name cannot start in "@"'),
        ("x" * 250 + ".service", "unit name exceeds maximum length (255)"),
    ],
)
async def test_bad_names_are_refused_in_fleets_words(house: House, name: str, message: str) -> None:
    reply = await house.fleet("PUT", f"/units/{name}", {"options": OPTIONS})
    assert (reply.status, reply.json["error"]["message"]) == (400, message)
    assert shapes.name_fault("") == "unit name cannot be empty"


@pytest.mark.parametrize(
    ("headers", "status", "message"),
    [
        ({"Content-Type": "text/plain"}, 415, "only acceptable Content-Type is application/json"),
        ({"Content-Type": "application/json; charset=utf-8"}, 201, ""),
        ({"Content-Type": "application/jsonx"}, 415, "only acceptable Content-Type is application/json"),
    ],
)
async def test_a_body_must_be_called_json(house: House, headers: dict[str, str], status: int, message: str) -> None:
    data = b'{"options": [{"section": "Service", "name": "ExecStart", "value": "/bin/true"}], "unknown": 1}'
    reply = await house.fleet("PUT", "/units/a.service", data=data, headers=headers)
    assert reply.status == status
    assert not message or reply.json["error"]["message"] == message


async def test_a_body_that_is_no_json_is_told_so(house: House) -> None:
    for data in (b"", b"{", b"[]", b'{"name": 1}', b'{"options": [1]}', b"\xff"):
        reply = await house.fleet("PUT", "/units/a.service", data=data, headers=JSON)
        assert reply.status == 400, data
        assert reply.json["error"]["message"].startswith("unable to decode body"), data


async def test_the_old_prefix_and_absolute_request_lines_are_served(house: House) -> None:
    assert (await house.ask("GET", "/v1-alpha/machines")).json["machines"][0]["id"] == M1
    address = house.address("tcp")
    request = f"GET http://{address}/fleet/v1/machines?alt=json HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    answer = await asyncio.to_thread(raw, address, request.encode())
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert M1.encode() in answer


async def test_pages_hold_a_hundred_and_a_full_one_has_a_next(house: House) -> None:
    wishes = [{"name": f"u{number:03}.service", "text": HELLO} for number in range(200)]
    assert (await house.own("POST", "/units", {"units": wishes})).status == 200
    names: list[str] = []
    sizes: list[int] = []
    token = ""
    for _ in range(4):
        page = (await house.fleet("GET", f"/units{'?nextPageToken=' + token if token else ''}")).json
        names += [unit["name"] for unit in page.get("units", [])]
        sizes.append(len(page.get("units", [])))
        token = page.get("nextPageToken", "")
        if not token:
            break
    assert sizes == [100, 100, 0]
    assert names == [wish["name"] for wish in wishes]
    assert shapes.token(2) == "ZAACAA=="


async def test_global_units_have_no_machine_and_no_state_of_their_own(house: House) -> None:
    await house.machine(M2)
    await house.submit("g.service", GLOBAL, "launched")
    await house.place("g.service", M1, M2)
    for machine in (M1, M2):
        await house.observe("g.service", machine)
    alone = (await house.fleet("GET", "/units/g.service")).json
    assert "currentState" not in alone
    assert "machineID" not in alone
    (listed,) = (await house.fleet("GET", "/units")).json["units"]
    assert (listed["currentState"], listed.get("machineID")) == ("inactive", None)
    states = (await house.fleet("GET", "/state")).json["states"]
    assert [state["machineID"] for state in states] == [M1, M2]


async def test_states_are_sorted_and_filtered_and_those_without_a_hash_left_out(house: House) -> None:
    for name in ("b.service", "a.service"):
        await house.submit(name, target="launched")
        await house.place(name, M2)
        await house.observe(name, M2)
    await house.observe("b.service", M1, "inactive", "dead")
    await house.store.commit([], [Put(keys.state(M1, "c.service"), encode(UnitState("c.service", M1)))])
    states = (await house.fleet("GET", "/state")).json["states"]
    assert [(state["name"], state["machineID"]) for state in states] == [("a.service", M2), ("b.service", M1), ("b.service", M2)]
    assert len((await house.fleet("GET", f"/state?machineID={M2}")).json["states"]) == 2
    assert len((await house.fleet("GET", f"/state?unitName=b.service&machineID={M1}")).json["states"]) == 1
    assert (await house.fleet("GET", "/state?unitName=none.service")).json == {}
    assert (await house.fleet("GET", "/state/b.service")).json["machineID"] == M2  # where it is placed


async def test_a_unit_that_failed_is_launched_and_a_running_one_told_to_stop_is_too(house: House) -> None:
    await house.submit("a.service", target="launched")
    await house.place("a.service")
    assert (await house.fleet("GET", "/units/a.service")).json["currentState"] == "inactive"
    await house.observe("a.service", active="inactive", sub="dead", launch=0)
    assert (await house.fleet("GET", "/units/a.service")).json["currentState"] == "loaded"
    await house.observe("a.service", active="failed", sub="failed", launch=1)
    assert (await house.fleet("GET", "/units/a.service")).json["currentState"] == "launched"
    await house.observe("a.service", launch=1)
    await house.fleet("PUT", "/units/a.service", {"desiredState": "loaded"})
    await house.place("a.service")
    assert (await house.fleet("GET", "/units/a.service")).json["currentState"] == "launched"
    await house.observe("a.service", active="deactivating", sub="stop-sigterm", launch=1)
    assert (await house.fleet("GET", "/units/a.service")).json["currentState"] == "launched"
    await house.observe("a.service", active="inactive", sub="dead", launch=1)
    assert (await house.fleet("GET", "/units/a.service")).json["currentState"] == "loaded"


async def test_a_replaced_unit_keeps_its_launches_and_takes_the_state_that_is_given(house: House) -> None:
    await house.submit("a.service", target="launched")
    reply = await house.fleet("PUT", "/units/a.service", {"options": CHANGED, "desiredState": "launched"})
    assert reply.status == 201
    unit = (await house.own("GET", "/units/a.service")).json["unit"]
    assert (unit["target"], unit["launch"], unit["text"]) == ("launched", 1, "[Service]\nExecStart=/bin/sleep 2000\n")
    assert (await house.fleet("PUT", "/units/a.service", {"options": OPTIONS})).status == 201
    assert (await house.own("GET", "/units/a.service")).json["unit"]["target"] == "inactive"


async def test_options_travel_both_ways_with_order_and_repetition(house: House) -> None:
    options = [
        {"section": "Unit", "name": "After", "value": "a.service"},
        {"section": "Service", "name": "ExecStart", "value": "/bin/sh -c 'echo \"$X\" %i; \\\n  sleep 1'"},
        {"section": "Service", "name": "Environment", "value": "A=1"},
        {"section": "Unit", "name": "After", "value": "b.service"},
        {"section": "Service", "name": "Environment", "value": ""},
        {"section": "X-Fleet", "name": "MachineMetadata", "value": '"a=b" "c=d"'},
    ]
    assert (await house.fleet("PUT", "/units/a.service", {"options": options})).status == 201
    told = (await house.fleet("GET", "/units/a.service")).json["options"]
    grouped = sorted(options, key=lambda option: ["Unit", "Service", "X-Fleet"].index(option["section"]))
    assert told == [{name: value for name, value in option.items() if value} for option in grouped]
    assert (await house.fleet("PUT", "/units/a.service", {"options": told, "desiredState": "loaded"})).status == 204


async def test_metadata_is_patched_and_outlives_the_machines_own(house: House) -> None:
    await house.machine(M2, metadata={"role": "web", "disk": "ssd"})

    async def patch(*operations: dict[str, Any]) -> Any:
        reply = await house.fleet("PATCH", "/machines", list(operations))
        return (reply.status, reply.json["error"]["message"] if reply.body else "")

    path = f"/{M2}/metadata/"
    add, gone = {"op": "add", "path": path + "rack", "value": {"value": "r1"}}, {"op": "remove", "path": path + "disk"}
    assert await patch(add, gone, {"op": "replace", "path": path + "role", "value": {"value": "db"}}) == (204, "")
    assert (await house.fleet("GET", "/machines")).json["machines"][1]["metadata"] == {"role": "db", "rack": "r1"}
    await house.machine(M2, metadata={"role": "web", "disk": "ssd", "new": "1"})
    assert (await house.fleet("GET", "/machines")).json["machines"][1]["metadata"] == {"role": "db", "rack": "r1", "new": "1"}
    assert await patch({"op": "move", "path": path + "x"}) == (400, "invalid op: expect add, remove, or replace")
    for bad in ("/x", path, path + "a b", "/../metadata/x", path + "a/b", "/no such machine/metadata/x"):
        assert await patch({"op": "remove", "path": bad}) == (400, "machine metadata path invalid"), bad
    assert await patch({"op": "add", "path": path + "x"}) == (400, "invalid value: add and replace require a value")
    assert await patch(gone, {"op": "add", "path": path + "x"}) == (400, "invalid value: add and replace require a value")


async def test_the_description_names_every_method(house: House) -> None:
    told = (await house.fleet("GET", "/discovery")).json
    assert told["basePath"] == "/fleet/v1/"
    methods = {
        method["id"]: (method["httpMethod"], method["path"]) for kind in told["resources"].values() for method in kind["methods"].values()
    }
    assert methods == {
        "fleet.Machine.List": ("GET", "machines"),
        "fleet.Unit.List": ("GET", "units"),
        "fleet.Unit.Get": ("GET", "units/{unitName}"),
        "fleet.Unit.Delete": ("DELETE", "units/{unitName}"),
        "fleet.Unit.Set": ("PUT", "units/{unitName}"),
        "fleet.UnitState.Get": ("GET", "state/{unitName}"),
        "fleet.UnitState.List": ("GET", "state"),
    }
