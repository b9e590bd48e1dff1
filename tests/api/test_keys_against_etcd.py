"""etcd's v2 keys: the same requests to a real etcd and to our door, and the answers compared.

Indexes differ by nature (our store counts other commits too), so each is replaced by its rank among those seen; times are left out.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import msgspec
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from argosy.reconcile import SystemClock
from argosy.store.base import Store
from argosy.store.etcd import EtcdStore
from tests.api.house import a_house
from tests.etcd_server import etcd_server


class Ask(NamedTuple):
    method: str
    path: str
    form: str = ""
    query: str = ""


class Pair:
    """A real etcd and our door, each seen under a prefix of its own so that cases do not meet."""

    def __init__(self, session: aiohttp.ClientSession, real: str, ours: str) -> None:
        self.session = session
        self.bases = (f"http://{real}/v2/keys", f"http://{ours}/v2/keys")
        self.cases = 0

    async def same(self, asks: list[Ask]) -> list[Any]:
        """Sends all to both; fails at the first answer that differs. Returns the answers."""
        self.cases += 1
        prefix = f"/case{self.cases}"
        ranks: tuple[dict[int, int], dict[int, int]] = ({}, {})
        told = []
        for number, ask in enumerate(asks):
            answers = [await self._ask(base + prefix, ask) for base in self.bases]
            real, ours = (normal(answer, rank, prefix) for answer, rank in zip(answers, ranks, strict=True))
            assert ours == real, f"request {number}: {ask}\nof {asks}"
            told.append(real)
        return told

    async def _ask(self, base: str, ask: Ask) -> tuple[int, dict[str, str], bytes]:
        body = ask.form.encode() if ask.form else None
        headers = {"Content-Type": "application/x-www-form-urlencoded"} if ask.form else {}
        url = base + ask.path + (f"?{ask.query}" if ask.query else "")
        async with self.session.request(ask.method, url, data=body, headers=headers, allow_redirects=False) as response:
            return response.status, dict(response.headers), await response.read()


def normal(answer: tuple[int, dict[str, str], bytes], ranks: dict[int, int], prefix: str) -> Any:
    """An answer without what may differ."""
    status, headers, body = answer
    kept = {name: name in headers for name in ("X-Etcd-Cluster-Id", "X-Etcd-Index")}
    kind = headers.get("Content-Type", "").partition(";")[0]
    lines = [_shown(msgspec.json.decode(line), ranks, prefix) for line in body.splitlines()] if kind == "application/json" else body
    return status, kept, kind, headers.get("Allow", ""), lines


def _shown(told: Any, ranks: dict[int, int], prefix: str) -> Any:
    if isinstance(told, list):
        return sorted((_shown(item, ranks, prefix) for item in told), key=repr)
    if isinstance(told, dict):
        return {name: _field(name, value, ranks, prefix) for name, value in sorted(told.items()) if name != "index"}
    if isinstance(told, str):
        told = re.sub(r"!= (\d+)\]", lambda found: f"!= index {ranks.get(int(found[1]), found[1])}]", told)
        return re.sub(r"/\d{20}", "/<in order>", told.replace(prefix, ""))
    return told


def _field(name: str, value: Any, ranks: dict[int, int], prefix: str) -> Any:
    if name in ("modifiedIndex", "createdIndex"):
        return ranks.setdefault(value, len(ranks))
    if name == "expiration":
        return bool(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", value))
    return _shown(value, ranks, prefix)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["sqlite", "etcd"])
async def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    """Our door stands over each of the stores; the etcd store is the same server's v3 side."""
    folder: Path = tmp_path_factory.mktemp("pair")
    async with AsyncExitStack() as stack:
        endpoints = await stack.enter_async_context(etcd_server(folder / "etcd", extra=["--enable-v2"]))
        store: Store | None = None
        if request.param == "etcd":
            store = await stack.enter_async_context(EtcdStore(list(endpoints), SystemClock()))
        house = await stack.enter_async_context(a_house(folder, store=store))
        session = await stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))
        yield Pair(session, endpoints[0], house.address("keys"))


PUT, GET, POST, DELETE = "PUT", "GET", "POST", "DELETE"
CASES: dict[str, list[Ask]] = {
    "a key is set, read, changed and deleted": [
        Ask(PUT, "/a", "value=1"),
        Ask(GET, "/a"),
        Ask(PUT, "/a", "value=2"),
        Ask(DELETE, "/a"),
        Ask(GET, "/a"),
        Ask(DELETE, "/a"),
    ],
    "values may be empty, long, strange or missing": [
        Ask(PUT, "/a", "value="),
        Ask(PUT, "/b"),
        Ask(PUT, "/c", "value=a%20b+c%0A%C3%BC%26%3D"),
        Ask(GET, "/c"),
        Ask(PUT, "/d", "value=" + "x" * 100_000),
        Ask(PUT, "/e", "", "value=query"),
        Ask(PUT, "/f", "value=form", "value=query"),
    ],
    "directories are made on the way, listed and removed": [
        Ask(PUT, "/d/e/f", "value=1"),
        Ask(GET, "/d"),
        Ask(GET, "/d", query="recursive=true&sorted=true"),
        Ask(GET, ""),
        Ask(DELETE, "/d"),
        Ask(DELETE, "/d", query="dir=true"),
        Ask(DELETE, "/d", query="recursive=true"),
        Ask(GET, "/d/e"),
    ],
    "directories of their own": [
        Ask(PUT, "/d", "dir=true"),
        Ask(PUT, "/d", "dir=true"),
        Ask(PUT, "/d", "dir=true&prevExist=false"),
        Ask(PUT, "/d", "value=1"),
        Ask(PUT, "/d", "dir=true&prevExist=true"),
        Ask(PUT, "/d", "dir=true&prevExist=true&ttl=100"),
        Ask(GET, "/d"),
        Ask(DELETE, "/d"),
        Ask(DELETE, "/d", query="dir=true"),
        Ask(PUT, "/f", "value=1"),
        Ask(PUT, "/f", "dir=true"),
        Ask(GET, "/f"),
    ],
    "a file is no directory": [
        Ask(PUT, "/f", "value=1"),
        Ask(PUT, "/f/g", "value=1"),
        Ask(GET, "/f/g"),
        Ask(DELETE, "/f/g"),
        Ask(POST, "/f", "value=1"),
        Ask(PUT, "/f/g", "value=1&prevExist=false"),
        Ask(PUT, "/f/g", "value=1&prevExist=true"),
        Ask(PUT, "/f/g", "value=1&prevValue=1"),
    ],
    "create and update": [
        Ask(PUT, "/a", "value=1&prevExist=false"),
        Ask(PUT, "/a", "value=2&prevExist=false"),
        Ask(PUT, "/a", "value=3&prevExist=true"),
        Ask(PUT, "/b", "value=3&prevExist=true"),
        Ask(PUT, "/a", "prevExist=true"),
        Ask(GET, "/a"),
    ],
    "compare and swap": [
        Ask(PUT, "/a", "value=1"),
        Ask(PUT, "/a", "value=2&prevValue=1"),
        Ask(PUT, "/a", "value=3&prevValue=1"),
        Ask(PUT, "/a", "value=3&prevIndex=1"),
        Ask(PUT, "/a", "value=3&prevValue=x&prevIndex=1"),
        Ask(PUT, "/b", "value=3&prevValue=1"),
        Ask(PUT, "/a", "value=4&prevValue=2&prevExist=true"),
        Ask(PUT, "/d", "dir=true"),
        Ask(PUT, "/d", "value=1&prevValue=1"),
        Ask(PUT, "/a", "value=4&prevValue="),
        Ask(PUT, "/a", "value=4&prevValue=4&prevExist=false"),
    ],
    "compare and delete": [
        Ask(PUT, "/a", "value=1"),
        Ask(DELETE, "/a", query="prevValue=2"),
        Ask(DELETE, "/a", query="prevIndex=1"),
        Ask(DELETE, "/a", query="prevValue=1"),
        Ask(DELETE, "/a", query="prevValue=1"),
        Ask(PUT, "/d", "dir=true"),
        Ask(DELETE, "/d", query="prevValue=1"),
        Ask(DELETE, "/d", query="prevValue=1&dir=true"),
    ],
    "in order": [
        Ask(POST, "/q", "value=1"),
        Ask(POST, "/q", "value=2"),
        Ask(POST, "/q", "dir=true"),
        Ask(GET, "/q", query="sorted=true"),
        Ask(POST, "/q", "value=3&ttl=100"),
    ],
    "times to live": [
        Ask(PUT, "/a", "value=1&ttl=100"),
        Ask(GET, "/a"),
        Ask(PUT, "/a", "value=2"),
        Ask(PUT, "/a", "value=3&ttl=100"),
        Ask(PUT, "/a", "value=3&ttl="),
        Ask(PUT, "/a", "ttl=100&refresh=true"),
        Ask(PUT, "/a", "ttl=100&refresh=true&prevExist=true"),
        Ask(PUT, "/a", "ttl=100&refresh=true&prevValue=3"),
        Ask(GET, "/a"),
        Ask(PUT, "/b", "ttl=100&refresh=true"),
        Ask(PUT, "/b", "ttl=100&refresh=true&prevExist=true"),
        Ask(PUT, "/a", "refresh=true"),
        Ask(PUT, "/a", "refresh=true&ttl=10&value=x"),
        Ask(PUT, "/a", "refresh=false&value=x"),
        Ask(PUT, "/a", "value=1&ttl=100&prevExist=true"),
        Ask(PUT, "/a", "value=1&prevExist=true"),
        Ask(PUT, "/d", "dir=true&ttl=100"),
        Ask(GET, "", query="recursive=true&sorted=true"),
    ],
    "hidden keys": [
        Ask(PUT, "/_h", "value=1"),
        Ask(PUT, "/d/_h/x", "value=1"),
        Ask(PUT, "/d/y", "value=1"),
        Ask(GET, "", query="recursive=true&sorted=true"),
        Ask(GET, "/_h"),
        Ask(GET, "/d/_h"),
        Ask(DELETE, "/d/y"),
        Ask(DELETE, "/d", query="dir=true"),
    ],
    "what is not understood": [
        Ask(PUT, "/a", "value=1&ttl=x"),
        Ask(PUT, "/a", "value=1&ttl=-1"),
        Ask(PUT, "/a", "value=1&ttl=1.5"),
        Ask(PUT, "/a", "value=1&prevIndex=x"),
        Ask(GET, "/a", query="waitIndex=x"),
        Ask(GET, "/a", query="wait=maybe"),
        Ask(GET, "/a", query="recursive=2"),
        Ask(GET, "/a", query="sorted=yes"),
        Ask(GET, "/a", query="quorum=x"),
        Ask(GET, "/a", query="stream=x"),
        Ask(PUT, "/a", "dir=x"),
        Ask(PUT, "/a", "value=1", "wait=true"),
        Ask(PUT, "/a", "value=1&prevExist=x"),
        Ask(PUT, "/a", "ttl=1&refresh=x"),
        Ask(PUT, "/a", "value=%zz"),
        Ask(PUT, "/a", "noValueOnSuccess=x"),
        Ask("PATCH", "/a"),
    ],
    "less is told where less is wanted": [
        Ask(PUT, "/a", "value=1&noValueOnSuccess=true"),
        Ask(PUT, "/a", "value=2&noValueOnSuccess=true&prevExist=true"),
        Ask(DELETE, "/a", query="noValueOnSuccess=true"),
        Ask("HEAD", "/a"),
    ],
    "quorum, slashes and booleans": [
        Ask(PUT, "/a/b", "value=1"),
        Ask(GET, "/a", query="quorum=true&recursive=1"),
        Ask(GET, "/a/b", query="quorum=T"),
        Ask(GET, "/a/c", query="quorum=true"),
        Ask(GET, "/a/b/c", query="quorum=true"),
        Ask(GET, "/a/", query="sorted=F"),
        Ask(PUT, "/a/c/", "value=1"),
        Ask(GET, "/%C3%BC"),
        Ask(PUT, "/%C3%BC", "value=1"),
    ],
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("asks", CASES.values(), ids=CASES)
async def test_answers_are_etcds(pair: Pair, asks: list[Ask]) -> None:
    told = await pair.same(asks)
    assert len(told) == len(asks)


@pytest.mark.asyncio(loop_scope="module")
async def test_the_root_is_read_only(pair: Pair) -> None:
    for base in pair.bases:
        for method, query in ((PUT, ""), (DELETE, "recursive=true")):
            async with pair.session.request(method, f"{base}/?{query}") as response:
                told = await response.json()
                assert (response.status, told["errorCode"], told["cause"]) == (400, 107, "/")


WATCHES: dict[str, tuple[str, str, list[Ask]]] = {
    "a key": ("/a", "", [Ask(PUT, "/b", "value=0"), Ask(PUT, "/a", "value=1")]),
    "a key's end": ("/a", "", [Ask(PUT, "/a/b", "value=1"), Ask(DELETE, "/a", query="recursive=true")]),
    "a tree": ("/a", "recursive=true", [Ask(PUT, "/a/b/c", "value=1&ttl=100")]),
    "a tree's deletion": ("/t", "recursive=true", [Ask(DELETE, "/t/x"), Ask(PUT, "/t/z", "value=1")]),
    "a key whose directory is deleted": ("/t/x", "", [Ask(DELETE, "/t", query="recursive=true")]),
    "a refresh is not told": ("/t/x", "", [Ask(PUT, "/t/x", "ttl=50&refresh=true&prevExist=true"), Ask(PUT, "/t/x", "value=2")]),
    "a comparison": ("/t/x", "", [Ask(PUT, "/t/x", "value=5&prevValue=4"), Ask(PUT, "/t/x", "value=5&prevValue=1")]),
    "a comparison's deletion": ("/t/x", "", [Ask(DELETE, "/t/x", query="prevValue=1")]),
    "hidden keys are not told": ("/t", "recursive=true", [Ask(PUT, "/t/_h/x", "value=1"), Ask(PUT, "/t/y", "value=1")]),
    "an end": ("/t/s", "", [Ask(PUT, "/t/s", "value=1&ttl=1"), Ask(GET, "/t")]),
}


class Wait:
    """A wait that the server has taken up: etcd and our door send the head of the answer when they have begun to watch."""

    def __init__(self, pair: Pair, url: str) -> None:
        self._asking = pair.session.get(url)

    async def __aenter__(self) -> Wait:
        self._response = await asyncio.wait_for(self._asking.__aenter__(), 10)
        return self

    async def __aexit__(self, *failed: Any) -> None:
        self._response.close()

    async def told(self) -> tuple[int, dict[str, str], bytes]:
        return self._response.status, dict(self._response.headers), await asyncio.wait_for(self._response.read(), 10)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("path", "query", "asks"), WATCHES.values(), ids=WATCHES)
async def test_watchers_are_told_as_etcd_tells_them(pair: Pair, path: str, query: str, asks: list[Ask]) -> None:
    """The watch has begun before anything is written: what comes from etcd's history instead is told by other rules."""
    pair.cases += 1
    prefix = f"/watch{pair.cases}"
    told = []
    for base in pair.bases:
        begun = await pair._ask(base + prefix, Ask(PUT, "/t/x", "value=1&ttl=100"))
        index = int(begun[1]["X-Etcd-Index"]) + 1
        async with Wait(pair, f"{base}{prefix}{path}?wait=true&waitIndex={index}&{query}") as waiting:
            for ask in asks:
                await pair._ask(base + prefix, ask)
            answer = await waiting.told()
        if path == "/t/s":  # of this one both the beginning and the end are told
            index = msgspec.json.decode(answer[2])["node"]["modifiedIndex"] + 1
            answer = await asyncio.wait_for(pair._ask(base + prefix, Ask(GET, path, query=f"wait=true&waitIndex={index}")), 10)
        told.append(normal(answer, {}, prefix))
    assert told[1] == told[0]


@pytest.mark.asyncio(loop_scope="module")
async def test_hidden_keys_are_not_told_from_the_history_either(pair: Pair) -> None:
    """Here our door is stricter than etcd 2, which tells them to a watcher that comes after the write."""
    base = f"{pair.bases[1]}/hidden"
    begun = await pair._ask(base, Ask(PUT, "/t/x", "value=1"))
    index = int(begun[1]["X-Etcd-Index"]) + 1
    for ask in (Ask(PUT, "/t/_h/x", "value=1"), Ask(PUT, "/t/y", "value=1")):
        await pair._ask(base, ask)
    told = msgspec.json.decode((await pair._ask(base, Ask(GET, "/t", query=f"wait=true&recursive=true&waitIndex={index}")))[2])
    assert told["node"]["key"] == "/hidden/t/y"
    named = msgspec.json.decode((await pair._ask(base, Ask(GET, "/t/_h", query=f"wait=true&recursive=true&waitIndex={index}")))[2])
    assert named["node"]["key"] == "/hidden/t/_h/x"


@pytest.mark.asyncio(loop_scope="module")
async def test_a_stream_tells_everything_in_order(pair: Pair) -> None:
    told = []
    for base in pair.bases:
        begun = await pair._ask(f"{base}/stream", Ask(PUT, "/a", "value=0"))
        index = int(begun[1]["X-Etcd-Index"]) + 1
        async with pair.session.get(f"{base}/stream?wait=true&stream=true&recursive=true&waitIndex={index}") as response:
            for number in range(20):
                await pair._ask(f"{base}/stream", Ask(PUT, f"/k{number % 3}", f"value={number}"))
            seen = [msgspec.json.decode(await asyncio.wait_for(response.content.readline(), 10)) for _ in range(20)]
        told.append([(event["action"], event["node"]["key"], event["node"]["value"]) for event in seen])
    assert told[0] == told[1] == [("set", f"/stream/k{number % 3}", str(number)) for number in range(20)]


NAMES = st.sampled_from(["/a", "/b", "/a/x", "/a/y", "/a/x/z", "/_h", "/a/_h"])
FORMS = st.sampled_from(
    ["value=1", "value=2", "dir=true", "value=1&ttl=100", "value=2&prevExist=true", "value=1&prevExist=false", "value=3&prevValue=1",
     "dir=true&ttl=90", "dir=true&prevExist=true", "ttl=50&refresh=true&prevExist=true", "ttl=50&refresh=true", "value=2&prevIndex=1"]
)  # fmt: skip
QUERIES = st.sampled_from(["", "recursive=true", "dir=true", "prevValue=1", "recursive=true&sorted=true", "quorum=true"])
ASKS = st.one_of(
    st.builds(Ask, st.just(PUT), NAMES, FORMS),
    st.builds(Ask, st.just(DELETE), NAMES, st.just(""), QUERIES),
    st.builds(Ask, st.just(GET), NAMES, st.just(""), QUERIES),
    st.builds(Ask, st.just(POST), NAMES, FORMS),
    st.just(Ask(GET, "", query="recursive=true")),
)


@pytest.mark.asyncio(loop_scope="module")
async def test_random_histories_are_answered_alike(pair: Pair) -> None:
    runner = asyncio.get_running_loop()

    @settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
    @given(st.lists(ASKS, min_size=5, max_size=25))
    def histories(asks: list[Ask]) -> None:
        asyncio.run_coroutine_threadsafe(pair.same(asks), runner).result(30)

    await asyncio.to_thread(histories)


STATS = [
    Ask("PUT", "/a", "value=one"),
    Ask("PUT", "/a", "value=two"),
    Ask("PUT", "/a", "value=two&prevExist=true"),
    Ask("PUT", "/n", "value=two&prevExist=true"),
    Ask("PUT", "/a", "value=two&prevExist=false"),
    Ask("PUT", "/b", "value=two&prevExist=false"),
    Ask("PUT", "/a", "value=three&prevValue=two"),
    Ask("PUT", "/a", "value=three&prevValue=nine"),
    Ask("PUT", "/n", "value=three&prevIndex=5"),
    Ask("POST", "/q", "value=one"),
    Ask("GET", "/a"),
    Ask("GET", "/n"),
    Ask("DELETE", "/n"),
    Ask("DELETE", "/a", query="prevValue=three"),
    Ask("PUT", "/d", "dir=true"),
    Ask("PUT", "/d", "value=one"),
    Ask("DELETE", "/d"),
    Ask("DELETE", "/d", query="dir=true"),
]


@pytest.mark.asyncio(loop_scope="module")
async def test_statistics_count_what_etcd_counts(pair: Pair) -> None:
    """What a list of requests adds; a real etcd also counts some of its own. Both name the same things."""

    async def stats(which: str) -> list[dict[str, Any]]:
        found = []
        for base in pair.bases:
            async with pair.session.get(base.replace("/v2/keys", f"/v2/stats/{which}")) as response:
                assert (response.status, response.content_type) == (200, "application/json")
                found.append(msgspec.json.decode(await response.read()))
        return found

    before = await stats("store")
    await pair.same(STATS)
    after = await stats("store")
    assert list(after[0]) == list(after[1])
    real, ours = ({name: new[name] - old[name] for name in new} for old, new in zip(before, after, strict=True))
    assert ours.pop("getsFail") == 1 <= real.pop("getsFail")  # etcd also looks whether directories are there
    assert ours == real
    real, ours = await stats("self")
    assert list(real) == list(ours)
    assert list(real["leaderInfo"]) == list(ours["leaderInfo"])
    for told in (real, ours):
        assert re.fullmatch(r"(\d+h)?(\d+m)?\d+(\.\d+)?(ms|s)", told["leaderInfo"]["uptime"])
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", told["startTime"])
        assert told["leaderInfo"]["leader"] == told["id"]
    real, ours = await stats("leader")
    assert list(real) == list(ours) == ["leader", "followers"]
