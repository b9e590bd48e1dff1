"""argosy images, as far as it is the command line's: what is shown while a registry takes its time, and how a list looks."""

from __future__ import annotations

import asyncio
import os
import pty
from asyncio.subprocess import DEVNULL
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from obstore.store import MemoryStore

from argosy.images.http import registry_api
from argosy.images.objects import Objects
from argosy.images.registry import Registry
from argosy.install import program
from tests.cli.stage import ENVIRONMENT, invoke
from tests.images.house import client_of, client_of_api, storage_of

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def test_a_registry_that_takes_its_time_is_seen_to(storage: Objects) -> None:
    seen = asyncio.Event()

    @web.middleware
    async def slowly(request: web.Request, handler: Handler) -> web.StreamResponse:
        await seen.wait()
        return await handler(request)

    registry = Registry(storage)
    async with client_of_api(registry, registry_api(registry, middlewares=[slowly])) as client:
        ours, theirs = pty.openpty()
        environ = {**ENVIRONMENT, "TERM": "xterm", "COLUMNS": "120"}
        words = (program(), "images", "ls", "--registry", f"http://127.0.0.1:{client.port}")
        process = await asyncio.create_subprocess_exec(*words, stdin=DEVNULL, stdout=theirs, stderr=theirs, env=environ)
        os.close(theirs)
        shown = b""
        async with asyncio.timeout(30):
            while b"images so far" not in shown:
                shown += await asyncio.to_thread(os.read, ours, 65536)
            seen.set()
            assert await process.wait() == 0
        os.close(ours)
        assert f"1 s: asking http://127.0.0.1:{client.port}: 0 images so far" in shown.decode()


@pytest.fixture
def storage() -> Objects:
    return Objects(MemoryStore(), "memory://")


async def test_lists(storage: Objects) -> None:
    async with client_of(storage) as client:
        where = ("--registry", f"http://127.0.0.1:{client.port}")
        old = await client.push_image("apps/web", "1", [b"old"])
        new = await client.push_image("apps/web", "1", [b"new"])
        said = await asyncio.to_thread(invoke, "images", "ls", *where)
        assert said == (0, f"NAME      TAG  DIGEST               SIZE  PLATFORMS\napps/web  1    {new[:19]}  5B    -\n", "")
        said = await asyncio.to_thread(invoke, "images", "ls", "--untagged", *where)
        heading, row = said.out.splitlines()
        assert heading.split() == ["NAME", "DIGEST", "SIZE", "PLATFORMS", "PUSHED"]
        assert row.split()[:4] == ["apps/web", old[:19], "5B", "-"]
        assert row.endswith("s ago")


async def test_what_pushes_of_one_tag_leave_behind_goes_with_two_collections(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/images"
    collect = ("images", "gc", "--storage", url, "--grace", "0")
    async with storage_of("folder", tmp_path / "images") as folder, client_of(folder) as client:
        for number in range(5):
            await client.push_image("apps/web", "latest", [b"layer %d" % number])
        said = await asyncio.to_thread(invoke, *collect, "--keep-untagged")
        assert "without a tag" not in said.out
        said = await asyncio.to_thread(invoke, *collect)
        assert "4 manifests without a tag, which nothing needs: removed by a later collection." in said.out
        said = await asyncio.to_thread(invoke, *collect)
        assert "4 manifests without a tag removed." in said.out
        assert "4 blobs and 0 pieces of data removed: 28B." in said.out
        assert len(await client.keys("parts/")) == 2
        where = ("--registry", f"http://127.0.0.1:{client.port}")
        assert (await asyncio.to_thread(invoke, "images", "rm", "apps/web:latest", *where)).code == 0
        for _ in range(2):
            await asyncio.to_thread(invoke, *collect)
        assert await client.keys() == []
