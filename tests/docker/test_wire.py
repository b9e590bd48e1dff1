"""Where an engine is, which version is spoken with it, and what its answers mean."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from argosy.docker.client import DockerClient
from argosy.docker.wire import Endpoint, choose, endpoint, refused
from argosy.errors import (
    ArgosyError,
    Conflict,
    DockerUnavailable,
    InvalidInput,
    NotFound,
    Refused,
    RuntimeFailed,
    Unsuitable,
)

ADDRESSES = [
    ("a unix socket", "unix:///run/docker.sock", False, Endpoint(socket="/run/docker.sock")),
    ("TCP in the clear has its own port", "tcp://10.0.0.1", False, Endpoint(host="10.0.0.1", port=2375)),
    ("TCP with certificates has another", "tcp://10.0.0.1", True, Endpoint(host="10.0.0.1", port=2376, secure=True)),
    ("a port that is said counts", "tcp://db:4000", True, Endpoint(host="db", port=4000, secure=True)),
    ("https is secure without certificates of our own", "https://db:4000/", False, Endpoint(host="db", port=4000, secure=True)),
    ("an IPv6 address keeps its brackets", "tcp://[::1]:4000", False, Endpoint(host="[::1]", port=4000)),
]


@pytest.mark.parametrize(("_", "url", "tls", "expected"), ADDRESSES, ids=[row[0] for row in ADDRESSES])
def test_an_address_is_understood(_: str, url: str, tls: bool, expected: Endpoint) -> None:
    assert endpoint(url, tls) == expected


@pytest.mark.parametrize(
    "url", ["", "unix://run/docker.sock", "unix:relative", "ftp://x", "tcp://", "tcp://a:b", "tcp://a/v1", "tcp://u@a", "/run/docker.sock"]
)
def test_what_is_no_address_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(InvalidInput, match="no address of a Docker Engine") as refusal:
        DockerClient(url)
    assert "unix:///run/docker.sock" in refusal.value.remedy


VERSIONS = [
    ("Docker 19.03: the oldest that is understood", "1.40", "1.12", "1.40"),
    ("Docker 20.10", "1.41", "1.12", "1.41"),
    ("a newer engine is spoken to in the newest version known here", "1.99", "1.44", "1.48"),
    ("an engine that names no oldest version", "1.45", "", "1.45"),
]


@pytest.mark.parametrize(("_", "engine", "oldest", "expected"), VERSIONS, ids=[row[0] for row in VERSIONS])
def test_the_newest_version_that_both_know_is_spoken(_: str, engine: str, oldest: str, expected: str) -> None:
    assert choose(engine, oldest) == expected


@pytest.mark.parametrize(("engine", "oldest"), [("1.39", "1.12"), ("1.9", ""), ("1.60", "1.50"), ("", ""), ("latest", "1.12"), ("1.x", "")])
def test_an_engine_without_a_version_in_common_is_unsuitable(engine: str, oldest: str) -> None:
    with pytest.raises(Unsuitable, match="API"):
        choose(engine, oldest)


STATUSES: list[tuple[int, type[ArgosyError]]] = [
    (400, InvalidInput), (401, Refused), (403, Refused), (404, NotFound), (409, Conflict), (500, RuntimeFailed), (503, DockerUnavailable),
]  # fmt: skip


@pytest.mark.parametrize(("status", "kind"), STATUSES)
def test_an_engines_refusal_is_an_error_that_says_what_was_asked(status: int, kind: type[ArgosyError]) -> None:
    error = refused("start container web", status, "no luck")
    assert type(error) is kind
    assert error.message == "cannot start container web: no luck"


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
VERSION = {"ApiVersion": "1.41", "MinAPIVersion": "1.12", "Version": "20.10", "Os": "linux", "Arch": "amd64"}


@contextlib.asynccontextmanager
async def server(folder: Path, answer: Answer) -> AsyncIterator[str]:
    """An engine that answers as the test says; gives its address."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(folder / "s")).start()
    try:
        yield f"unix://{folder}/s"
    finally:
        await runner.cleanup()


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s")


async def test_an_engine_that_is_too_old_is_named_with_both_versions(folder: Path) -> None:
    async def old(request: web.Request) -> web.Response:
        return web.json_response({**VERSION, "ApiVersion": "1.39"})

    async with server(folder, old) as url, DockerClient(url) as client:
        with pytest.raises(Unsuitable, match=r"API 1\.39 at most; 1\.40 is needed"):
            await client.containers()


async def test_what_is_no_docker_engine_is_unsuitable(folder: Path) -> None:
    async def other(request: web.Request) -> web.Response:
        return web.Response(text="<html>hello</html>")

    async with server(folder, other) as url, DockerClient(url) as client:
        with pytest.raises(Unsuitable, match="is no Docker Engine"):
            await client.version()


async def test_an_engine_that_is_not_there_is_unavailable_and_says_where_it_was_looked_for(folder: Path) -> None:
    async with DockerClient(f"unix://{folder}/nothing") as client:
        with pytest.raises(DockerUnavailable, match=f"at unix://{folder}/nothing is away"):
            await client.containers()


async def test_an_engine_that_does_not_answer_is_unavailable_in_time(folder: Path) -> None:
    async def slow(request: web.Request) -> web.Response:
        if request.path == "/version":
            return web.json_response(VERSION)
        await asyncio.sleep(30)
        raise AssertionError

    async with server(folder, slow) as url, DockerClient(url, timeout=0.2) as client:
        with pytest.raises(DockerUnavailable, match=r"cannot list containers: .* did not answer within 0\.2 s") as error:
            await client.containers()
        assert "look before you repeat it" in error.value.remedy


ODD = [
    ("no JSON", web.Response(text="{")),
    ("JSON of another kind", web.Response(text='"hello"', content_type="application/json")),
    ("nothing", web.Response(text="")),
    ("a list of no objects", web.Response(text="[1]", content_type="application/json")),
]


@pytest.mark.parametrize(("_", "answer"), ODD, ids=[row[0] for row in ODD])
async def test_an_odd_answer_is_an_error_and_no_traceback(folder: Path, _: str, answer: web.Response) -> None:
    async def odd(request: web.Request) -> web.Response:
        if request.path == "/version":
            return web.json_response(VERSION)
        return web.Response(body=answer.body, content_type=answer.content_type)

    async with server(folder, odd) as url, DockerClient(url) as client:
        with pytest.raises(RuntimeFailed):
            await client.container("web")


async def test_a_message_that_is_no_json_is_told_as_it_is(folder: Path) -> None:
    async def plain(request: web.Request) -> web.Response:
        if request.path == "/version":
            return web.json_response(VERSION)
        return web.Response(status=500, text="the disk is full\n")

    async with server(folder, plain) as url, DockerClient(url) as client:
        with pytest.raises(RuntimeFailed, match=r"cannot start container web: the disk is full$"):
            await client.start("web")


@pytest.mark.parametrize(
    ("given", "said", "expected"),
    [(None, {}, "10"), (None, {"StopTimeout": 0}, "0"), (None, {"StopTimeout": -1}, "-1"), (3, {"StopTimeout": 60}, "3"), (-1, {}, "0")],
)
async def test_a_container_is_given_the_time_that_it_or_the_caller_names(
    folder: Path, given: int | None, said: dict[str, int], expected: str
) -> None:
    asked: list[str] = []

    async def engine(request: web.Request) -> web.Response:
        if request.path == "/version":
            return web.json_response(VERSION)
        if request.method == "GET":
            return web.json_response({"Config": said})
        asked.append(request.query["t"])
        return web.Response(status=204)

    async with server(folder, engine) as url, DockerClient(url) as client:
        await client.stop("web", grace=given)
    assert asked == [expected]


async def test_a_proxy_without_an_engine_behind_it_is_an_engine_that_is_away(folder: Path) -> None:
    async def proxy(request: web.Request) -> web.Response:
        return web.Response(status=503, text="<html>No server is available</html>")

    async with server(folder, proxy) as url, DockerClient(url) as client:
        with pytest.raises(DockerUnavailable, match="answered 503"):
            await client.containers()


async def test_an_answer_that_breaks_off_is_no_answer(folder: Path) -> None:
    async def broken(request: web.Request) -> web.StreamResponse:
        if request.path == "/version":
            return web.json_response(VERSION)
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"status": "Pulling", "id": "a"}\n')
        assert request.transport is not None
        request.transport.abort()
        return response

    async with server(folder, broken) as url, DockerClient(url) as client:
        with pytest.raises(DockerUnavailable, match="cannot pull"):
            await client.pull("registry.test/a:1")
        with pytest.raises(DockerUnavailable):
            await client.containers()


async def test_words_from_outside_stay_within_their_place_in_the_address(folder: Path) -> None:
    seen: list[str] = []

    async def record(request: web.Request) -> web.Response:
        seen.append(request.raw_path)
        return web.json_response(VERSION if request.path == "/version" else [])

    async with server(folder, record) as url, DockerClient(url) as client:
        await client.containers(filters={"label": ["a=b&all=1#x"]})
        await client.kill("web", "TERM&x=1 ?")
    assert seen[1].startswith("/v1.41/containers/json?all=0&filters=%7B")
    assert "#" not in seen[1]
    assert seen[1].count("&") == 1
    assert seen[2] == "/v1.41/containers/web/kill?signal=TERM%26x%3D1%20%3F"


async def test_the_version_is_asked_again_after_the_engine_was_away(folder: Path) -> None:
    spoken: list[str] = []

    def engine(api: str) -> Answer:
        async def answer(request: web.Request) -> web.Response:
            spoken.append(request.path)
            return web.json_response({**VERSION, "ApiVersion": api} if request.path == "/version" else [])

        return answer

    async with DockerClient(f"unix://{folder}/s") as client:
        async with server(folder, engine("1.40")):
            await client.containers()
            await client.containers()
        with pytest.raises(DockerUnavailable):
            await client.containers()
        async with server(folder, engine("1.43")):
            await client.containers()
    assert spoken == ["/version", "/v1.40/containers/json", "/v1.40/containers/json", "/version", "/v1.43/containers/json"]


async def test_a_filter_that_the_engine_refuses_ends_the_stream_with_its_words(folder: Path) -> None:
    async def strict(request: web.Request) -> web.Response:
        if request.path == "/version":
            return web.json_response(VERSION)
        if request.path.endswith("/info"):
            return web.json_response({"SystemTime": "2026-11-21T12:00:00Z"})
        return web.json_response({"message": "invalid filter 'nonsense'"}, status=400)

    async with server(folder, strict) as url, DockerClient(url) as client, client.events(filters={"nonsense": ["1"]}) as stream:
        async with asyncio.timeout(10):
            with pytest.raises(InvalidInput, match="nonsense"):
                await anext(stream)
