"""Debian's real etcdctl, speaking the v2 API, against the keys door."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio

from argosy.reconcile import SystemClock
from argosy.store.base import Room
from argosy.store.sqlite import SqliteStore
from tests.api.house import House, a_house

PATIENCE = 20.0


class Said(NamedTuple):
    code: int
    out: str
    err: str


class Etcdctl:
    def __init__(self, address: str) -> None:
        program = shutil.which("etcdctl")
        if program is None:
            pytest.fail("etcdctl is not installed: run scripts/setup (it installs Debian's etcd-client)", pytrace=False)
        self.command = [program, "-C", f"http://{address}"]

    async def start(self, *words: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self.command,
            *words,
            env={**os.environ, "ETCDCTL_API": "2"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def __call__(self, *words: str) -> Said:
        process = await self.start(*words)
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
        return Said(process.returncode or 0, out.decode().strip(), err.decode().strip())


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with a_house(tmp_path) as found:
        yield found


@pytest_asyncio.fixture
async def etcdctl(house: House) -> Etcdctl:
    return Etcdctl(house.address("keys"))


SESSION: list[tuple[str, int, str]] = [
    ("set /services/web/hello/1 10.0.0.1:80 --ttl 60", 0, "10.0.0.1:80"),
    ("get /services/web/hello/1", 0, "10.0.0.1:80"),
    ("set /services/web/hello/1 10.0.0.2:80 --ttl 60", 0, "10.0.0.2:80"),
    ("mk /services/web/hello/2 a", 0, "a"),
    ("mk /services/web/hello/2 a", 4, "105: Key already exists (/services/web/hello/2)"),
    ("update /services/web/hello/2 b", 0, "b"),
    ("update /services/web/hello/3 b", 4, "100: Key not found (/services/web/hello/3)"),
    ("set /services/web/hello/2 c --swap-with-value b", 0, "c"),
    ("set /services/web/hello/2 c --swap-with-value b", 4, "101: Compare failed ([b != c])"),
    ("mkdir /d", 0, ""),
    ("mkdir /d", 4, "105: Key already exists (/d)"),
    ("setdir /d --ttl 30", 4, "102: Not a file (/d)"),
    ("updatedir /d --ttl 30", 0, ""),
    ("ls --sort /", 0, "/d\n/services"),
    (
        "ls --recursive --sort -p /",
        0,
        "/d/\n/services/\n/services/web/\n/services/web/hello/\n/services/web/hello/1\n/services/web/hello/2",
    ),
    ("ls /none", 4, "100: Key not found (/none)"),
    ("get --quorum /services/web/hello/2", 0, "c"),
    ("rm /services/web/hello/2", 0, "PrevNode.Value: c"),
    ("rm /services", 4, "102: Not a file (/services)"),
    ("rmdir /services", 4, "108: Directory not empty (/services)"),
    ("rm /d --dir", 0, ""),
    ("rm /services --recursive", 0, ""),
    ("get /services", 4, "100: Key not found (/services)"),
]


async def test_a_session(etcdctl: Etcdctl) -> None:
    for words, code, expected in SESSION:
        said = await etcdctl(*words.split())
        assert (said.code, expected in (said.out if code == 0 else said.err)) == (code, True), (words, said)


async def test_members_and_health(etcdctl: Etcdctl, house: House) -> None:
    assert f"clientURLs=http://{house.address('keys')} isLeader=true" in (await etcdctl("member", "list")).out
    assert "cluster is healthy" in (await etcdctl("cluster-health")).out


async def test_watch_begins_where_it_is_told_to(etcdctl: Etcdctl, house: House) -> None:
    begun = (await house.ask_keys("PUT", "/v2/keys/w", data={"dir": "true"})).json["node"]["modifiedIndex"]
    await etcdctl("set", "/w/a", "1", "--ttl", "60")
    assert (await etcdctl("watch", "--after-index", str(begun), "/w/a")).out == "1"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("watch", "/w/a"), "v"),
        (("exec-watch", "--recursive", "/w", "--", "sh", "-c", "echo $ETCD_WATCH_ACTION $ETCD_WATCH_KEY $ETCD_WATCH_VALUE"), "set /w/a v"),
    ],
    ids=["watch", "exec-watch"],
)
async def test_watches_are_told_of_what_comes(etcdctl: Etcdctl, house: House, words: tuple[str, ...], said: str) -> None:
    """With no index they begin when they begin, which nobody can see: so it is set until they have seen it."""
    watch = await etcdctl.start(*words)
    assert watch.stdout is not None
    line = asyncio.ensure_future(watch.stdout.readline())
    try:
        for _ in range(200):
            await house.ask_keys("PUT", "/v2/keys/w/a", data={"value": "v", "ttl": "60"})
            done, _ = await asyncio.wait({line}, timeout=0.05)
            if done:
                break
        assert (await asyncio.wait_for(line, PATIENCE)).decode().strip() == said
    finally:
        if watch.returncode is None:
            watch.kill()
        await watch.communicate()


async def test_the_sidekicks_loop_of_the_docs_works(etcdctl: Etcdctl, house: House) -> None:
    """set --ttl, again and again; then rm when it is told to stop."""
    indexes = []
    for _ in range(3):
        assert (await etcdctl("set", "/services/website/n1", "10.0.0.1:80", "--ttl", "60")).code == 0
        indexes.append((await house.ask_keys("GET", "/v2/keys/services/website/n1")).json["node"]["ttl"])
    assert all(55 <= ttl <= 60 for ttl in indexes)
    assert (await etcdctl("rm", "/services/website/n1")).code == 0
    assert (await etcdctl("ls", "/services/website")).out == ""


class Full(SqliteStore):
    """A store that has no room left for users."""

    async def room(self) -> Room:
        return Room(900_000, 900_000, 1_000_000)


async def test_what_there_is_no_room_for_is_told_in_words(tmp_path: Path) -> None:
    """A limit is an error of the request, whose cause etcdctl shows; a full store is one of the server, of which it shows the status."""
    async with a_house(tmp_path / "limits", keys__largest=10, keys__most_below=1500) as house:
        etcdctl = Etcdctl(house.address("keys"))
        said = await etcdctl("set", "/d/a", "x" * 11)
        assert (said.code, "the value has 11 bytes; at most 10 are taken" in said.err) == (4, True)
        answers = [await etcdctl("set", f"/d/{number}", "x") for number in range(10)]
        refused = next(answer for answer in answers if answer.code)
        assert "the keys below /d hold" in refused.err
        assert "[keys] most, most_below" in refused.err
        assert (await etcdctl("rm", "--recursive", "/d")).code == 0
    async with Full(":memory:", SystemClock()) as store, a_house(tmp_path / "full", store=store) as house:
        said = await Etcdctl(house.address("keys"))("set", "/d/a", "x")
        assert (said.code, "[Insufficient Storage]" in said.err) == (4, True)
        answer = await house.ask_keys("PUT", "/v2/keys/d/a", data={"value": "x"})
        assert (answer.status, answer.json["errorCode"]) == (507, 300)
        assert "the store holds" in answer.json["cause"]
