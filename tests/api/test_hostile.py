"""What nobody should send: every door answers it with a clear error, no traceback leaves, and the door goes on."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from argosy.reconcile import SystemClock
from argosy.state.keys import UNITS
from argosy.store.base import Listing
from argosy.store.sqlite import SqliteStore
from argosy.web.limits import Limits
from tests.api.house import HELLO, M1, House, a_house, raw

JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with a_house(tmp_path) as found:
        yield found


FILES: list[tuple[str, str, Any, int, str]] = [
    ("an empty file", "a.service", {"text": ""}, 400, "empty"),
    ("a binary file", "a.service", {"text": "\x7fELF\x00\x01"}, 400, "NUL"),
    ("control characters", "a.service", {"text": "[Service]\nExecStart=/x \x1b[2J\n"}, 400, "control character"),
    ("a unit of 1 MB", "a.service", {"text": "[Service]\nExecStart=/bin/true\n" + "#" * 1_000_000}, 413, "at most"),
    ("no suffix", "a", {"text": HELLO}, 400, "dot"),
    ("a wrong suffix", "a.exe", {"text": HELLO}, 400, ".exe"),
    ("a name of 300 characters", "x" * 292 + ".service", {"text": HELLO}, 400, "255"),
    ("a path as a name", "..%2F..%2Fetc%2Fpasswd.service", {"text": HELLO}, 400, "unit name"),
    ("a name with a newline", "a%0Ab.service", {"text": HELLO}, 400, "unit name"),
    ("a name with NUL", "a%00.service", {"text": HELLO}, 400, "unit name"),
    ("a name that is no UTF-8", "a%FF.service", {"text": HELLO}, 400, "unit name"),
    ("a template started without an instance", "a@.service", {"text": HELLO, "target": "launched"}, 400, "cannot activate template"),
    ("metadata nobody has is no error", "a.service", {"text": HELLO + "[X-Fleet]\nMachineMetadata=a=b\n", "target": "launched"}, 201, ""),
    ("a conflict with itself is none", "a.service", {"text": HELLO + "[X-Fleet]\nConflicts=a*\n"}, 201, ""),
    ("a unit beside itself", "a.service", {"text": HELLO + "[X-Fleet]\nMachineOf=a.service\n"}, 400, "a.service"),
    ("an unknown requirement", "a.service", {"text": HELLO + "[X-Fleet]\nMachine=a\n"}, 400, "Machine"),
    ("an unknown field", "a.service", {"text": HELLO, "tragte": "launched"}, 400, "tragte"),
    ("a target that is none", "a.service", {"text": HELLO, "target": "running"}, 400, "target"),
    ("a text that is a number", "a.service", {"text": 1}, 400, "text"),
    ("a lone surrogate", "a.service", b'{"text": "\\ud800"}', 400, "not valid"),
    ("a revision below zero", "a.service", {"text": HELLO, "revision": -1}, 400, "revision"),
    ("a revision of another time", "a.service", {"text": HELLO, "revision": 7}, 409, "does not exist"),
    ("restart and stop at once", "a.service", {"text": HELLO, "restart": True, "target": "loaded"}, 400, "restart"),
    ("nothing of nothing", "a.service", {}, 404, "does not exist"),
    ("an instance of nothing", "a@1.service", {"target": "launched"}, 404, "a@.service"),
    ("a list", "a.service", [], 400, "not valid"),
    ("no JSON", "a.service", b"{", 400, "not valid"),
    ("deep JSON", "a.service", b"[" * 100_000, 400, "not valid"),
    ("bytes", "a.service", b"\xff\xfe", 400, "not valid"),
]


@pytest.mark.parametrize(("said", "name", "body", "status", "part"), FILES, ids=[row[0] for row in FILES])
async def test_units(house: House, said: str, name: str, body: Any, status: int, part: str) -> None:
    data = body if isinstance(body, bytes) else msgspec.json.encode(body)
    reply = await house.ask("PUT", f"/argosy/v1/units/{name}", data=data, headers=JSON)
    assert reply.status == status, reply.body
    assert status == 201 or part in reply.json["error"]["message"], reply.body
    assert (await house.own("GET", "/version")).status == 200


FRAMES: list[tuple[str, bytes, bytes]] = [
    ("no HTTP", b"\x00\x01\x02\r\n\r\n", b"400"),
    ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 64 + b"\r\n\r\n", b"400"),
    ("a header without a colon", b"GET / HTTP/1.1\r\nHost x\r\n\r\n", b"400"),
    ("two lengths", b"PUT /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", b"400"),
    (
        "a length and chunks",
        b"PUT /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"400",
    ),
    ("a length that is none", b"PUT /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n", b"400"),
    ("a bad chunk", b"PUT /v2/keys/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
    ("an endless header", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", b"400"),
    ("an endless line", b"GET /" + b"x" * 400_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"400"),
    ("a version of tomorrow", b"GET / HTTP/9.9\r\n\r\n", b"400"),
]


@pytest.mark.parametrize("door", ["tcp", "keys"])
@pytest.mark.parametrize(("said", "content", "status"), FRAMES, ids=[frame[0] for frame in FRAMES])
async def test_broken_http(house: House, door: str, said: str, content: bytes, status: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    answer = await asyncio.to_thread(_sent, house.address(door), content)
    assert [record for record in caplog.records if record.exc_info or record.levelno > logging.DEBUG] == []
    assert not answer or answer.split(b" ")[1] == status, answer[:200]
    assert b"Traceback" not in answer
    assert (await house.own("GET", "/version")).status == 200


def _sent(address: str, content: bytes) -> bytes:
    try:
        return raw(address, content)
    except ConnectionError:
        return b""


BROWSERS: list[tuple[str, dict[str, str], int]] = [
    ("no browser", {}, 200),
    ("a page of its own", {"Origin": "http://{address}"}, 200),
    ("a foreign page", {"Origin": "http://evil.example"}, 403),
    ("a foreign port", {"Origin": "http://127.0.0.1:1"}, 403),
    ("a page without an origin", {"Origin": "null"}, 403),
    ("a rebound name", {"Host": "evil.example:8700"}, 403),
    ("a rebound name as its own page", {"Host": "evil.example", "Origin": "http://evil.example"}, 403),
    ("localhost", {"Host": "localhost:8700"}, 200),
    ("an address", {"Host": "[::1]:8700"}, 200),
    ("a short name", {"Host": "m1:8700"}, 200),
    ("a container's name for its host", {"Host": "host.docker.internal:8700"}, 200),
    ("what is no host", {"Host": "[::1"}, 403),
    (
        "a request that our own router was made to pass on",
        {"Host": "localhost", "X-Forwarded-For": "10.0.0.9", "X-Real-IP": "10.0.0.9"},
        403,
    ),
]


@pytest.mark.parametrize(("said", "headers", "status"), BROWSERS, ids=[row[0] for row in BROWSERS])
async def test_pages_in_a_browser_cannot_drive_a_door(house: House, said: str, headers: dict[str, str], status: int) -> None:
    for door, path in (("tcp", "/argosy/v1/units"), ("tcp", "/fleet/v1/units"), ("keys", "/v2/keys/")):
        address = house.address(door)
        sent = {name: value.replace("{address}", address) for name, value in headers.items()}
        async with house.tcp.get(f"http://{address}{path}", headers=sent) as response:
            assert response.status == status, (door, path, await response.text())


async def test_a_form_of_a_page_is_no_json(house: House) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        reply = await house.ask_tcp("POST", "/argosy/v1/units", data=b'{"units": []}', headers={"Content-Type": kind})
        assert (reply.status, reply.json["error"]["message"]) == (415, "the body must be JSON")


PATHS: list[tuple[str, str, int]] = [
    ("GET", "/", 404),
    ("GET", "/argosy/v1", 404),
    ("GET", "/argosy/v1/nothing", 404),
    ("PATCH", "/argosy/v1/units", 405),
    ("GET", "/argosy/v1/units?wait=x", 400),
    ("GET", "/argosy/v1/units?wait=-1", 400),
    ("GET", "/argosy/v1/units?wait=1e9", 400),
    ("GET", "/argosy/v1/units?wait=nan", 400),
    ("GET", "/argosy/v1/units?index=99999999999999999999", 400),
    ("GET", "/argosy/v1/units?index=1&index=2", 400),
    ("GET", "/argosy/v1/units?what=1", 400),
    ("GET", "/argosy/v1/units?text=maybe", 400),
    ("GET", "/argosy/v1/units/a.service/journal?lines=-1", 400),
    ("GET", "/argosy/v1/units/a.service/journal?lines=1000000000", 400),
    ("GET", "/argosy/v1/units/..%2F..%2Fx/why", 400),
    ("POST", "/argosy/v1/machines/..%2F..%2Fx/cordon", 404),
    ("POST", "/argosy/v1/machines/%00/drain", 404),
    ("GET", "/argosy/v1/local/units/..%2F..%2Fx/status", 400),
    ("GET", "/argosy/v1/local/units/-M%20x/journal", 400),
    ("DELETE", "/argosy/v1/units/a.service?revision=x", 400),
]


@pytest.mark.parametrize(("method", "path", "status"), PATHS)
async def test_paths_and_parameters(house: House, method: str, path: str, status: int) -> None:
    reply = await house.ask(method, path)
    assert (reply.status, reply.json["error"]["code"]) == (status, status)
    assert reply.json["error"]["message"]


KEYS: list[tuple[str, str, dict[str, Any], int, int]] = [
    ("control characters", "/a%0Ab", {"data": {"value": "1"}}, 400, 209),
    ("NUL", "/a%00b", {"data": {"value": "1"}}, 400, 209),
    ("a key of 5,000 bytes", "/" + "x" * 5000, {"data": {"value": "1"}}, 400, 209),
    ("a key of 1,000 directories", "/x" * 1000, {"data": {"value": "1"}}, 400, 209),
    ("a value of 1.5 MB", "/a", {"data": b"value=" + b"x" * 1_500_000, "headers": FORM}, 413, 209),
    (
        "a body of 20 MB",
        "/a",
        {"data": b"value=" + b"x" * 20_000_000, "headers": FORM},
        413,
        209,
    ),
    ("a form that is none", "/a", {"data": b"value=%zz", "headers": FORM}, 400, 210),
    ("an endless time", "/a", {"data": {"value": "1", "ttl": str(2**64 - 1)}}, 400, 202),
    ("a number beyond numbers", "/a", {"data": {"value": "1", "ttl": "9" * 5000}}, 400, 202),
    ("a number of another alphabet", "/a", {"data": {"value": "1", "prevIndex": "٣"}}, 400, 203),
]


@pytest.mark.parametrize(("said", "path", "options", "status", "code"), KEYS, ids=[row[0] for row in KEYS])
async def test_keys(house: House, said: str, path: str, options: dict[str, Any], status: int, code: int) -> None:
    if isinstance(options["data"], bytes):
        options = options | {"data": io.BytesIO(options["data"])}
    reply = await house.ask_keys("PUT", "/v2/keys" + path, **options)
    assert (reply.status, reply.json["errorCode"]) == (status, code)
    assert (await house.ask_keys("GET", "/v2/keys/")).json == {"action": "get", "node": {"dir": True}}


async def test_strange_keys_and_values_are_kept_as_they_are(house: House) -> None:
    for path, value in (("/ü/日本/%20%25%3F%23", "ü\n\r\t'\"<&"), ("/a%2Fb", "1"), ("/..a", "2"), ("/services/web/$(rm)", "; drop")):
        put = await house.ask_keys("PUT", "/v2/keys" + path, data={"value": value})
        assert put.status == 201
        assert (await house.ask_keys("GET", "/v2/keys" + path)).json["node"]["value"] == value


async def test_dots_in_a_key_do_not_lead_out_of_the_keyspace(house: House) -> None:
    for path in ("/v2/keys/../units/x", "/v2/keys/a/%2e%2e/%2E%2E/units/x", "/v2/keys/a/./b"):
        request = f"PUT {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        answer = await asyncio.to_thread(raw, house.address("keys"), request.encode())
        assert answer.split(b" ")[1] in (b"400", b"404"), answer
    assert {record.key for record in (await house.store.list("")).records} == {f"/argosy/machines/{M1}"}


async def test_a_client_that_sends_its_body_too_slowly_is_told_so(tmp_path: Path) -> None:
    async with a_house(tmp_path, limits=Limits(body=0.05)) as house:
        head = (
            b"PUT /argosy/v1/units/a.service HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        answer = await asyncio.to_thread(raw, house.address("tcp"), head)
        assert answer.startswith(b"HTTP/1.1 408")


class Broken(SqliteStore):
    """A store with a defect."""

    async def list(self, prefix: str) -> Listing:
        if prefix == UNITS:
            raise ZeroDivisionError("secret")
        return await super().list(prefix)


async def test_a_defect_is_a_plain_500_and_a_line_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with Broken(":memory:", SystemClock()) as store, a_house(tmp_path, store=store) as house:
        with caplog.at_level(logging.ERROR):
            reply = await house.own("GET", "/units")
        assert reply.status == 500
        assert b"secret" not in reply.body
        assert b"Traceback" not in reply.body
        assert "ZeroDivisionError" in caplog.text
