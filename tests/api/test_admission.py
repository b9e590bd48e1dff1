"""Who may do what at each listener of a machine: users of the machine, members of its group, and what proxies pass on."""

from __future__ import annotations

import asyncio
import grp
import logging
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from argosy.errors import InvalidInput
from argosy.trust import contexts
from argosy.trust.names import machine_name
from tests.api.house import M2, House, a_house
from tests.api.test_peers import two_machines
from tests.web.clients import STRANGER, curl_as, raw

JOB = '{"text": "[Service]\\nType=oneshot\\nExecStart=/bin/cp /etc/shadow /tmp/x\\n", "target": "launched"}'
JSON = ("-H", "Content-Type: application/json")
GROUP = "daemon"
"""A group of this machine, of which the user of the same name is a member."""


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with a_house(tmp_path, api__group=GROUP, keys__group=GROUP) as found:
        yield found


QUESTIONS: list[tuple[str, str, tuple[str, ...], int, int]] = [
    ("tcp", "/argosy/v1/units/x.service", ("-X", "PUT", *JSON, "-d", JOB), 201, 403),
    ("tcp", "/argosy/v1/units", ("-X", "POST", *JSON, "-d", '{"units": []}'), 200, 403),
    ("tcp", "/argosy/v1/units", (), 200, 403),
    ("tcp", "/argosy/v1/machines", (), 200, 403),
    ("tcp", "/argosy/v1/routes", (), 200, 403),
    ("tcp", "/argosy/v1/openapi.json", (), 200, 403),
    ("tcp", "/argosy/v1/units/none.service/journal", (), 404, 403),
    ("tcp", "/argosy/v1/local/units/none.service/status", (), 500, 403),
    ("tcp", "/argosy/v1/nothing", (), 404, 403),
    ("tcp", "/fleet/v1/units", (), 200, 403),
    ("tcp", "/fleet/v1/units/x.service", ("-X", "PUT", *JSON, "-d", '{"desiredState": "inactive", "options": []}'), 409, 403),
    ("tcp", "/fleet/v1/machines", (), 200, 403),
    ("tcp", "/argosy/v1/health", (), 200, 200),
    ("tcp", "/argosy/v1/version", (), 200, 200),
    ("tcp", "/argosy/v1/metrics", (), 200, 200),
    ("tcp", "/metrics", (), 200, 200),
    ("tcp", "/metrics", ("-X", "POST"), 405, 403),
    ("keys", "/v2/keys/?recursive=true", (), 200, 200),
    ("keys", "/v2/members", (), 200, 200),
    ("keys", "/health", (), 200, 200),
    ("keys", "/v2/keys/a", ("-X", "PUT", "-d", "value=1"), 201, 403),
    ("keys", "/v2/keys/a?value=1", ("-X", "PUT"), 201, 403),
    ("keys", "/v2/keys/queue", ("-X", "POST", "-d", "value=1"), 201, 403),
    ("keys", "/v2/keys/none?recursive=true", ("-X", "DELETE"), 404, 403),
]


@pytest.mark.parametrize(("listener", "path", "options", "members", "others"), QUESTIONS)
async def test_local_users(house: House, listener: str, path: str, options: tuple[str, ...], members: int, others: int) -> None:
    url = f"http://{house.address(listener)}{path}"
    assert (await curl_as(STRANGER, *options, url))[0] == others
    assert (await curl_as(1, *options, url))[0] == members  # daemon, of that group


async def test_nothing_is_written_by_a_user_whom_the_machine_does_not_know(house: House) -> None:
    before = (await house.store.list("")).records
    for listener, path, options, _, others in QUESTIONS:
        if others == 403:
            await curl_as(STRANGER, *options, f"http://{house.address(listener)}{path}")
    assert (await house.store.list("")).records == before


async def test_the_sockets_are_the_groups(tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.sock"
    async with a_house(tmp_path, api__group=GROUP, api__fleet_socket=str(fleet)) as house:
        for path in (Path(house.address("socket")), fleet):
            found = path.stat()
            assert (found.st_gid, stat.S_IMODE(found.st_mode)) == (grp.getgrnam(GROUP).gr_gid, 0o660)
            assert (await curl_as(STRANGER, "--unix-socket", str(path), "http://argosy/argosy/v1/units"))[0] == 0


async def test_a_group_that_does_not_exist_is_told_before_anything_listens(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"\[api\] group is 'nosuch'"):
        async with a_house(tmp_path, api__group="nosuch"):
            pass
    with pytest.raises(InvalidInput, match=r"\[keys\] group is 'nosuch'"):
        async with a_house(tmp_path, keys__group="nosuch"):
            pass


async def test_etcds_clients_are_told_in_their_words(house: House) -> None:
    status, said = await curl_as(STRANGER, "-X", "PUT", "-d", "value=1", f"http://{house.address('keys')}/v2/keys/a")
    assert status == 403
    assert '"errorCode":110,"message":"The request requires user authentication"' in said
    assert f"user {STRANGER} may not do that here" in said


PROXIED: list[dict[str, str]] = [
    {"X-Forwarded-For": "10.0.0.9"},
    {"X-Forwarded-Proto": "https"},
    {"Forwarded": "for=10.0.0.9"},
    {"Via": "1.1 nginx"},
    {"X-Real-IP": "10.0.0.9"},
]
APIS: list[tuple[str, str]] = [
    *((listener, path) for listener in ("tcp", "socket") for path in ("/argosy/v1/units", "/fleet/v1/units", "/metrics")),
    *((listener, path) for listener in ("tcp", "socket") for path in ("/argosy/v1/health", "/argosy/v1/version")),
    ("keys", "/v2/keys/"),
    ("keys", "/health"),
    ("keys", "/v2/members"),
]


def session_of(house: House, listener: str) -> tuple[aiohttp.ClientSession, str]:
    return (house.session, "http://localhost") if listener == "socket" else (house.tcp, f"http://{house.address(listener)}")


@pytest.mark.parametrize("headers", PROXIED, ids=[next(iter(row)) for row in PROXIED])
@pytest.mark.parametrize(("listener", "path"), APIS)
async def test_no_api_serves_what_a_proxy_passed_on(house: House, listener: str, path: str, headers: dict[str, str]) -> None:
    session, url = session_of(house, listener)
    async with session.get(url + path) as direct, session.get(url + path, headers=headers) as passed_on:
        assert (direct.status, passed_on.status) == (200, 403)
        assert "trusted" in await passed_on.text()


@pytest.mark.parametrize(("listener", "path"), [row for row in APIS if row[0] != "socket"])
async def test_no_api_serves_a_request_that_is_meant_for_another_server(house: House, listener: str, path: str) -> None:
    host, _, port = house.address(listener).partition(":")
    head = f"GET http://reg{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert (await raw(host, int(port), head.encode())).startswith(b"HTTP/1.1 403")


async def test_a_proxy_that_is_named_is_let_in(tmp_path: Path) -> None:
    async with a_house(tmp_path, api__trusted=["127.0.0.1", "unix:"], keys__trusted=["127.0.0.1"], api__hosts=["argosy.example"]) as house:
        for listener, path in APIS:
            session, url = session_of(house, listener)
            async with session.get(url + path, headers={"X-Forwarded-For": "10.0.0.9", "Via": "1.1 nginx"}) as passed_on:
                assert passed_on.status == 200, (listener, path)
        assert (await house.ask_tcp("GET", "/argosy/v1/units", headers={"Host": "argosy.example"})).status == 200


async def test_a_certificate_does_not_make_a_proxy_of_its_holder(tmp_path: Path) -> None:
    async with two_machines(tmp_path) as two:
        files = [str(tmp_path / "1" / name) for name in ("ca.pem", "cert.pem", "key.pem")]
        context = await asyncio.to_thread(contexts.client, *files)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
            for path in ("/argosy/v1/units", "/argosy/v1/health", "/metrics", "/fleet/v1/units", "/argosy/v1/local/units/a.service/status"):
                url = f"https://{two.second.address('tls')}{path}"
                for headers, status in (({}, 200), (PROXIED[0], 403)):
                    async with session.get(url, headers=headers, server_hostname=machine_name(M2)) as answer:
                        assert answer.status == status, (path, headers)


LATE: list[tuple[str, bytes]] = [("a chunk that is none", b"zz\r\nabc\r\n"), ("a chunk without an end", b"3\r\nabcdef\r\n0\r\n\r\n")]


@pytest.mark.parametrize(("_why", "chunk"), LATE, ids=[row[0] for row in LATE])
@pytest.mark.parametrize(("listener", "path"), [("tcp", "/argosy/v1/units/a.service"), ("keys", "/v2/keys/a")])
async def test_a_body_that_turns_out_to_be_no_http_is_a_400_and_no_traceback(
    house: House, listener: str, path: str, _why: str, chunk: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    host, _, port = house.address(listener).partition(":")
    headers = ("Host: localhost", "Content-Type: application/json", "Transfer-Encoding: chunked", "Expect: 100-continue")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write("\r\n".join((f"PUT {path} HTTP/1.1", *headers, "", "")).encode())
    async with asyncio.timeout(10):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(chunk)
        answer = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400"), answer
    assert [record for record in caplog.records if record.exc_info or record.levelno > logging.DEBUG] == []


async def test_the_agents_own_user_may_do_everything_over_tcp(house: House) -> None:
    assert os.geteuid() in (0, os.getuid())
    assert (await house.ask_tcp("GET", "/argosy/v1/units")).status == 200
    assert (await house.ask_keys("PUT", "/v2/keys/a", data={"value": "1"})).status == 201
