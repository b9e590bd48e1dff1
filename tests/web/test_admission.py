"""Who may ask, over one small application: other users, members of a group, proxies, web pages, and what is no HTTP."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from argosy.errors import InvalidInput
from argosy.web.addresses import split_address
from argosy.web.admission import CLIENT, Admission, contains, networks, reading
from argosy.web.connections import Connection
from argosy.web.limits import Limits
from argosy.web.listeners import Tcp, Unix
from argosy.web.peers import plain
from argosy.web.server import HttpApi, Route
from argosy.web.users import Users, group_id, is_member
from tests.conftest import FakeClock
from tests.web import serving
from tests.web.clients import STRANGER, curl_as, raw

OWNER = 4711
GROUP = 4712


@asynccontextmanager
async def served(admission: Admission, *, path: str = "", host: str = "127.0.0.1") -> AsyncIterator[int]:
    """An application that tells who it thinks asks; the port ("path": on a unix socket instead)."""

    async def tell(request: web.Request) -> web.Response:
        client = request[CLIENT]
        return web.Response(text=f"{client.scheme} {client.host} {client.address}")

    api = HttpApi(
        [Route("*", "/{path:.*}", tell)],
        lambda error: web.Response(status=error.status, text=str(error)),
        Limits(closing=0.1, line=8192),
    )
    async with serving.served(api, Unix(path) if path else Tcp(host, 0), admission) as address:
        yield 0 if path else split_address(address)[1]


async def told(port: int, headers: dict[str, str]) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/", headers=headers) as answer:
        return answer.status, await answer.text()


def users(clock: FakeClock, group: int | None = None) -> Users:
    return Users(OWNER, group, clock)


USERS: list[tuple[str, int, tuple[int, ...], str, int]] = [
    ("the agent's own user", OWNER, (), "PUT", 200),
    ("root", 0, (), "PUT", 200),
    ("another user may do what is harmless", STRANGER, (), "GET", 200),
    ("another user may do nothing else", STRANGER, (), "PUT", 403),
    ("the database of groups counts, not what a process carries", STRANGER, (GROUP,), "PUT", 403),
]


@pytest.mark.parametrize(("_why", "uid", "groups", "method", "status"), USERS, ids=[row[0] for row in USERS])
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"])
async def test_users(_why: str, uid: int, groups: tuple[int, ...], method: str, status: int, host: str, clock: FakeClock) -> None:
    listens = "::1" if host == "[::1]" else "127.0.0.1"
    async with served(Admission("api", users=users(clock, GROUP), harmless=reading), host=listens) as port:
        assert (await curl_as(uid, "-X", method, f"http://{host}:{port}/", groups=groups))[0] == status


async def test_a_refusal_names_the_user_and_the_remedy(clock: FakeClock) -> None:
    async with served(Admission("api", users=users(clock))) as port:
        status, said = await curl_as(STRANGER, f"http://127.0.0.1:{port}/")
    assert (status, said) == (
        403,
        f"user {STRANGER} may not do that here (ask as root, as the user of the agent, or as a member of the group of [api] group)",
    )


async def test_a_request_whose_sender_has_hung_up_is_nobodys(clock: FakeClock) -> None:
    """It is not root's, though the kernel says uid 0 of a socket that is closed: nothing of it is done."""
    done = asyncio.Event()
    seen: list[Connection] = []

    async def others(request: web.Request, peer: object) -> bool:
        assert isinstance(request.protocol, Connection)
        seen.append(request.protocol)
        done.set()
        return False

    async with served(Admission("api", users=users(clock), others=others)) as port:
        with socket.socket() as client:
            client.connect(("127.0.0.1", port))
            client.sendall(b"PUT /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        async with asyncio.timeout(10):
            await done.wait()
    assert [connection.peer.uid for connection in seen] == [None]


async def test_a_connection_that_was_reset_does_not_get_the_owner_of_the_next_one(clock: FakeClock) -> None:
    async with served(Admission("api", users=users(clock))) as port:
        client = socket.socket()
        client.bind(("127.0.0.1", 0))
        source = client.getsockname()
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        with socket.socket() as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind(source)
            again.setblocking(False)
            await asyncio.get_running_loop().sock_connect(again, ("127.0.0.1", port))
            await asyncio.get_running_loop().sock_sendall(again, b"GET / HTTP/1.0\r\n\r\n")
            async with asyncio.timeout(10):
                answer = await asyncio.get_running_loop().sock_recv(again, 100)
            assert answer.startswith(b"HTTP/1.0 200")


async def test_membership_is_asked_for_again_after_a_while(clock: FakeClock) -> None:
    found = Users(OWNER, 0, clock)  # root's group, in which nobody is not
    assert not await found.may(STRANGER)
    assert await found.may(OWNER)
    assert await found.may(0)
    assert is_member(0, 0)
    assert not is_member(2**31, 0)


def test_a_group_that_is_named_must_exist() -> None:
    assert group_id("root", "api") == 0
    assert group_id("", "api") is None
    with pytest.raises(InvalidInput, match=r"\[keys\] group is 'no-such-group'"):
        group_id("no-such-group", "keys")


PROXIED: list[tuple[str, str]] = [
    ("X-Forwarded-For", "10.0.0.9"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "localhost"),
    ("x-forwarded-prefix", "/api"),
    ("X-Real-IP", "10.0.0.9"),
    ("Forwarded", "for=10.0.0.9"),
    ("Via", "1.1 proxy"),
]


@pytest.mark.parametrize(("header", "value"), PROXIED)
async def test_what_a_proxy_passed_on_is_refused_and_the_setting_named(header: str, value: str) -> None:
    async with served(Admission("images", command="argosy registry")) as port:
        status, said = await told(port, {header: value})
    assert status == 403
    assert "[images] trusted = ['127.0.0.1'], or argosy registry --trusted 127.0.0.1" in said


TARGETS: list[tuple[str, bytes, bytes]] = [
    ("this server, as fleetctl 0.11 writes it", b"GET http://localhost/ HTTP/1.1", b"200"),
    ("another server", b"GET http://evil.example/x HTTP/1.1", b"403"),
    ("another port", b"GET http://localhost:5000/x HTTP/1.1", b"403"),
    ("no server", b"GET http:///x HTTP/1.1", b"40"),
    ("a tunnel", b"CONNECT localhost:80 HTTP/1.1", b"40"),
]


@pytest.mark.parametrize(("_why", "line", "status"), TARGETS, ids=[row[0] for row in TARGETS])
async def test_a_request_that_is_meant_for_a_proxy_is_refused(_why: str, line: bytes, status: bytes) -> None:
    async with served(Admission("api")) as port:
        answer = await raw("127.0.0.1", port, line + b"\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert answer.split(b" ")[1].startswith(status), answer


BELIEVED: list[tuple[str, dict[str, str], tuple[str, ...], str]] = [
    ("nobody passed it on", {}, ("127.0.0.1",), "http 127.0.0.1:PORT 127.0.0.1"),
    (
        "a proxy that is named",
        {"X-Forwarded-For": "203.0.113.5", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "reg.example"},
        ("127.0.0.0/8",),
        "https reg.example 203.0.113.5",
    ),
    (
        "what its client claimed is not believed",
        {"X-Forwarded-For": "198.51.100.1, 203.0.113.5", "X-Forwarded-Proto": "gopher"},
        ("127.0.0.1",),
        "http 127.0.0.1:PORT 203.0.113.5",
    ),
    (
        "two proxies that are named",
        {"X-Forwarded-For": "198.51.100.1, 203.0.113.5, 10.1.1.1"},
        ("127.0.0.1", "10.0.0.0/8"),
        "http 127.0.0.1:PORT 203.0.113.5",
    ),
]


@pytest.mark.parametrize(("_why", "headers", "trusted", "believed"), BELIEVED, ids=[row[0] for row in BELIEVED])
async def test_what_is_believed(_why: str, headers: dict[str, str], trusted: tuple[str, ...], believed: str) -> None:
    async with served(Admission("images", trusted=trusted)) as port:
        assert await told(port, headers) == (200, believed.replace("PORT", str(port)))


async def test_a_proxy_on_the_unix_socket_has_a_name_too(tmp_path: Any) -> None:
    path = str(tmp_path / "s")
    for trusted, status in (((), 403), (("unix:",), 200)):
        async with (
            served(Admission("api", trusted=trusted, hosts=None), path=path),
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as session,
            session.get("http://argosy/", headers={"X-Forwarded-For": "10.0.0.9"}) as answer,
        ):
            assert answer.status == status


def test_networks_that_are_none_are_named() -> None:
    with pytest.raises(InvalidInput, match=r"\[keys\] trusted: '10.0.0.0/99' is no network"):
        Admission("keys", trusted=("10.0.0.0/99",))
    assert contains(networks(["10.0.0.0/8"], "x"), "10.1.2.3")
    assert not contains(networks(["10.0.0.0/8"], "x"), "not an address")


@pytest.mark.parametrize(
    ("address", "same"), [("::ffff:127.0.0.1", "127.0.0.1"), ("fe80::1%eth0", "fe80::1"), ("::1", "::1"), ("10.0.0.1", "10.0.0.1")]
)
def test_addresses_in_the_form_that_is_looked_up(address: str, same: str) -> None:
    assert plain(address) == same


PAGES: list[tuple[str, str | None, bool]] = [
    ("localhost:5000", None, True),
    ("127.0.0.1:5000", None, True),
    ("[::1]:5000", None, True),
    ("registry:5000", None, True),
    ("registry.internal:5000", None, True),
    ("reg.example:5000", None, True),
    ("REG.example", "http://REG.example", True),
    ("evil.example:5000", None, False),
    ("localhost:5000", "http://localhost:5000", True),
    ("localhost:5000", "http://evil.example", False),
    ("localhost:5000", "null", False),
    ("[", None, False),
]


@pytest.mark.parametrize(("host", "origin", "allowed"), PAGES)
async def test_web_pages_of_others_are_kept_away(host: str, origin: str | None, allowed: bool) -> None:
    headers = {"Host": host} | ({"Origin": origin} if origin is not None else {})
    async with served(Admission("images", hosts=("reg.example",))) as port:
        assert (await told(port, headers))[0] == (200 if allowed else 403)


async def test_a_host_name_that_is_refused_says_which_setting_allows_it() -> None:
    async with served(Admission("images", command="argosy registry")) as port:
        said = (await told(port, {"Host": "reg.example:5000"}))[1]
    assert "[images] hosts = ['reg.example'], or argosy registry --host reg.example" in said


async def test_a_page_cannot_pass_for_a_trusted_proxy_by_a_header() -> None:
    """A page that has rebound its name may set X-Forwarded-Host: the Host on the wire counts."""
    headers = {"Host": "evil.example", "X-Forwarded-Host": "localhost", "Origin": "http://evil.example"}
    async with served(Admission("images", trusted=("127.0.0.1",))) as port:
        assert (await told(port, headers))[0] == 403


MALFORMED: list[tuple[str, bytes]] = [
    ("bytes", b"\x00\x01\x02\xff\r\n\r\n"),
    ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 64 + b"\r\n\r\n"),
    ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("a PROXY line", b"PROXY TCP4 10.0.0.9 127.0.0.1 1 2\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ("PROXY version 2", b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes(12) + b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ("a header without a colon", b"GET / HTTP/1.1\r\nHost x\r\n\r\n"),
    ("a header's name with a blank", b"GET / HTTP/1.1\r\nHost : x\r\n\r\n"),
    ("no Host's value but NUL", b"GET / HTTP/1.1\r\nHost: a\x00b\r\n\r\n"),
    ("two lengths", b"PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
    ("an endless line", b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ("an endless header", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20_000 + b"\r\n\r\n"),
    ("a version of tomorrow", b"GET / HTTP/9.9\r\n\r\n"),
    ("no target", b"GET\r\n\r\n"),
]


@pytest.mark.parametrize(("_why", "sent"), MALFORMED, ids=[row[0] for row in MALFORMED])
async def test_what_is_no_http_gets_a_400_and_at_most_a_line_at_debug(_why: str, sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with served(Admission("api")) as port:
        with caplog.at_level(logging.DEBUG):
            answer = await raw("127.0.0.1", port, sent)
    assert answer.split(b" ", 2)[1] == b"400", answer
    ours = [record for record in caplog.records if record.name.startswith(("argosy", "aiohttp"))]
    assert [record for record in ours if record.exc_info or record.levelno > logging.DEBUG] == []
    assert len(ours) <= 1
    assert "Traceback" not in caplog.text
