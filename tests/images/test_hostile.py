"""What clients send that no client should: the right error, no traceback, nothing kept."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
from aiohttp import web

from argosy.images.documents import LARGEST, OCI_IMAGE
from argosy.images.storage import Storage
from argosy.web.limits import Limits
from tests.images.house import Client, client_of, descriptor, digest_of, image

SHA = digest_of(b"nothing")
DEADLINE = 10.0
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture(autouse=True)
def no_tracebacks(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing that a client sends is a defect."""
    yield
    assert [record for record in caplog.get_records("call") if record.exc_info or record.levelno >= logging.ERROR] == []


async def said(port: int, *pieces: bytes, close: bool = False) -> bytes:
    """What is answered to these bytes. `close`: the client hangs up after them without waiting."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if close:
            return b""
        async with asyncio.timeout(DEADLINE):
            return await reader.read(65536)
    finally:
        writer.close()
        await asyncio.wait([asyncio.ensure_future(writer.wait_closed())])


async def until(met: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not await met():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def request(method: str, path: str, *headers: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode("latin-1")


@pytest.mark.parametrize(
    "path",
    [
        "/v2/../../../etc/passwd",
        "/v2/a/../../etc/manifests/passwd",
        "/v2/a/%2e%2e/%2e%2e/b/manifests/1",
        "/v2/a%2f..%2f..%2fb/manifests/1",
        "/v2/a/manifests/..%2f..%2f..%2fetc%2fpasswd",
        "/v2/a/manifests/%00",
        "/v2/a/manifests/1%0a",
        "/v2/a/blobs/sha256:..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/v2/a/blobs/uploads/..%2f..%2fblobs",
        "/v2/a/blobs/uploads/../../../x",
        "/v2/_blobs/manifests/1",
        "/v2/a/_tags/manifests/1",
        "/v2/.incoming/manifests/1",
        "/v2/a/referrers/..",
        "/v2/a/tags/list/../../../b",
        "/v2//////manifests/1",
        "/v2/" + "a/" * 3000 + "manifests/1",
        "/v2/%ff%fe/manifests/1",
        "/v2/a%5c..%5cb/manifests/1",
        "//v2/a/manifests/1",
        "/v3/",
        "/",
    ],
)
async def test_no_path_leads_anywhere_but_into_the_api(client: Client, path: str) -> None:
    await client.push_image("b", "1")
    before = await client.keys()
    for method in ("GET", "PUT", "DELETE", "PATCH", "POST"):
        answer = await said(client.port, request(method, path, "Content-Length: 0", "Connection: close"))
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.split()[1] in (b"400", b"404", b"405")
        assert b"root:" not in body
        assert json.loads(body)["errors"][0]["code"]
    assert await client.keys() == before


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "a/manifests/1", "DELETE, GET, HEAD, PUT"),
        ("PUT", f"a/blobs/{SHA}", "DELETE, GET, HEAD"),
        ("PUT", "_catalog", "GET"),
        ("DELETE", "a/tags/list", "GET"),
        ("GET", "a/blobs/uploads/", "POST"),
        ("TRACE", "", "GET, HEAD"),
    ],
)
async def test_a_method_that_is_not_served_is_told_which_are(client: Client, method: str, path: str, allowed: str) -> None:
    answer = await client.ask(method, path)
    assert answer.told == (405, "UNSUPPORTED")
    assert answer.headers["Allow"] == allowed


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("last", [True, False])
async def test_a_body_that_ends_early_leaves_nothing_behind(client: Client, chunked: bool, last: bool) -> None:
    content = random.Random(4).randbytes(3_000_000)
    location = await client.begin("a")
    await client.ask("PATCH", location, b"first")
    before = await client.keys()
    if chunked:
        framing, body = "Transfer-Encoding: chunked", f"{len(content):x}\r\n".encode() + content[: len(content) // 2]
    else:
        framing, body = f"Content-Length: {len(content)}", content[: len(content) // 2]
    line = ("PUT", f"{location}?digest={digest_of(b'first' + content)}") if last else ("PATCH", location)
    await said(client.port, request(*line, framing), body, close=True)

    async def as_before() -> bool:
        status = await client.ask("GET", location)
        return await client.keys() == before and status.headers["Range"] == "0-4"

    await until(as_before)
    assert (await client.ask("PUT", f"{location}?digest={digest_of(b'first' + content)}", content)).status == 201


async def test_a_client_that_falls_silent_is_hung_up_on(storage: Storage) -> None:
    async with client_of(storage, limits=Limits(silence=0.2, body=0.4)) as client:
        location = await client.begin("a")
        before = await client.keys()
        answer = await said(client.port, request("PATCH", location, "Content-Length: 1000"), b"x" * 10)
        assert b" 408 " in answer.splitlines()[0]
        assert await client.keys() == before


async def test_a_manifest_that_trickles_in_is_not_waited_for(storage: Storage) -> None:
    async with client_of(storage, limits=Limits(silence=5.0, body=0.3)) as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
        writer.write(request("PUT", "/v2/a/manifests/1", "Content-Length: 1000", f"Content-Type: {OCI_IMAGE}"))
        async with asyncio.timeout(DEADLINE):
            answered = asyncio.ensure_future(reader.readline())
            while not answered.done():
                writer.write(b" ")
                await asyncio.sleep(0.05)
        assert b" 408 " in answered.result()
        writer.close()
        assert await client.keys() == []


async def test_a_client_that_takes_nothing_is_hung_up_on(storage: Storage) -> None:
    content = random.Random(5).randbytes(1_000_000) * 16  # more than the kernel takes in
    given_up = asyncio.Event()

    @web.middleware
    async def watched(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        finally:
            if request.headers.get("X-Watched"):
                given_up.set()

    async with client_of(storage, limits=Limits(silence=0.3), middlewares=[watched]) as client:
        pushed = await client.push("a", content)
        reader, writer = await asyncio.open_connection("127.0.0.1", client.port, limit=1)
        writer.write(request("GET", f"/v2/a/blobs/{pushed}", "X-Watched: yes"))
        async with asyncio.timeout(DEADLINE):
            await given_up.wait()
            with contextlib.suppress(ConnectionError):
                taken = 0
                while piece := await reader.read(1_000_000):
                    taken += len(piece)
        assert taken < len(content)
        writer.close()
        assert (await client.ask("GET", f"a/blobs/{pushed}", Range="bytes=0-0")).body == content[:1]


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: -1"],
        ["Content-Length: 10", "Content-Length: 20"],
        ["Content-Length: 10", "Transfer-Encoding: chunked"],
        ["Content-Length: ten"],
        ["Transfer-Encoding: gzip, nonsense"],
        ["X: " + "y" * 100_000],
        ["X\x00: y"],
    ],
)
async def test_requests_that_are_no_http_are_refused(client: Client, lines: list[str]) -> None:
    before = await client.keys()
    answer = await said(client.port, request("PUT", "/v2/a/manifests/1", *lines, "Connection: close"), b"0123456789")
    assert answer.split()[1] in (b"400", b"431", b"501")
    assert await client.keys() == before


async def test_a_chunk_that_is_none_is_refused(client: Client) -> None:
    location = await client.begin("a")
    before = await client.keys()
    await said(client.port, request("PATCH", location, "Transfer-Encoding: chunked"), b"nonsense\r\nabc\r\n", close=False)

    async def as_before() -> bool:
        return await client.keys() == before

    await until(as_before)
    assert (await client.ask("GET", location)).headers["Range"] == "0-0"


async def test_a_manifest_of_ten_thousand_missing_layers_is_answered_briefly(client: Client) -> None:
    manifest = image()
    manifest["layers"] = [descriptor(f"{n}".encode(), "application/vnd.oci.image.layer.v1.tar") for n in range(9_999)]
    content = json.dumps(manifest).encode()
    answer = await client.ask("PUT", "a/manifests/1", content, Content_Type=OCI_IMAGE)
    assert answer.told == (404, "MANIFEST_BLOB_UNKNOWN")
    assert len(answer.codes) == 100
    assert await client.keys() == []


@pytest.mark.parametrize(
    "bomb",
    [
        b'{"schemaVersion": 2, "layers": ' + b"[" * 1_000_000,
        b'{"schemaVersion": 2, "x": ' + b'{"a":' * 400_000 + b"1" + b"}" * 400_000 + b"}",
        b'{"schemaVersion": 2, "config": {"digest": "sha256:' + b"0" * 3_000_000 + b'", "size": 1}, "layers": []}',
        b'{"schemaVersion": 2, "layers": [' + b"{}," * 1_000_000 + b"{}]}",
        b'{"schemaVersion": 1' + b"0" * 3_000_000 + b"}",
        b'{"schemaVersion": 2, "annotations": {' + b",".join(b'"%d": 1' % n for n in range(200_000)) + b"}}",
    ],
    ids=["open", "deep", "long digest", "many", "long number", "annotations"],
)
async def test_bombs_are_refused(client: Client, bomb: bytes) -> None:
    assert len(bomb) <= LARGEST
    answer = await client.ask("PUT", "a/manifests/1", bomb, Content_Type=OCI_IMAGE)
    assert answer.told == (400, "MANIFEST_INVALID")
    assert len(answer.body) < 2000
    assert await client.keys() == []


async def test_a_manifest_that_does_not_end_is_cut_off_at_the_limit(client: Client) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(LARGEST // 65536 + 10):
            yield b" " * 65536

    answer = await client.ask("PUT", "a/manifests/1", endless(), Content_Type=OCI_IMAGE)
    assert answer.told == (413, "MANIFEST_INVALID")
    assert (await client.ask("GET", "")).status == 200


@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
@pytest.mark.parametrize("upload", ["01234567-89ab-cdef-0123-456789abcdef", "x", "../../blobs", "0" * 5000])
async def test_uploads_that_nobody_has_begun(client: Client, method: str, upload: str) -> None:
    answer = await client.ask(method, f"a/blobs/uploads/{upload}?digest={SHA}", b"content" if method in ("PATCH", "PUT") else None)
    assert answer.status in (404, 400)
    assert answer.codes[0] in ("BLOB_UPLOAD_UNKNOWN", "UNSUPPORTED", "NAME_INVALID", "DIGEST_INVALID")
    assert await client.keys() == []
