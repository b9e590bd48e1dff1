"""Garbage collection: what it removes and when, and that no stored manifest ever misses a blob, whatever happens at the same time."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore

from argosy.errors import ArgosyError, Conflict, StoreUnavailable
from argosy.images import documents, layout
from argosy.images.collector import STALE_SECONDS, Collector, Report
from argosy.images.documents import OCI_IMAGE, OCI_INDEX
from argosy.images.faults import Fault
from argosy.images.names import Digest
from argosy.images.objects import Objects
from argosy.images.records import BlobRecord, decoded
from argosy.images.registry import Registry
from argosy.images.retention import read
from argosy.images.storage import Storage
from tests.conftest import FakeClock, settle
from tests.images.stepped import Stepped

HOUR = 3600.0
DAY = 24 * HOUR


def digest(content: bytes) -> Digest:
    return Digest("sha256", hashlib.sha256(content).hexdigest())


def manifest(*blobs: bytes) -> bytes:
    """An image of these blobs; the first is its config."""
    described = [{"mediaType": "application/octet-stream", "digest": str(digest(blob)), "size": len(blob)} for blob in blobs]
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_IMAGE, "config": described[0], "layers": described[1:]}).encode()


async def once(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def push(registry: Registry, repository: str, *blobs: bytes) -> Digest:
    for blob in blobs:
        if await registry.blobs.find(repository, digest(blob), pushing=True) is None:
            await registry.uploads.put(repository, digest(blob), once(blob))
    return (await registry.manifests.put(repository, manifest(*blobs), OCI_IMAGE, tags=["latest"])).digest


class Ground:
    """Two registries on one store, and the time."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.storage = Stepped(Objects(MemoryStore(), "memory://"), self.clock)
        self.registry = Registry(self.storage)
        self.other = Registry(self.storage)

    async def collect(self, *, dry: bool = False, keep_untagged: bool = False) -> Report:
        """A collection, during which time passes as it has to."""
        task = asyncio.create_task(Collector(self.storage, self.clock, keep_untagged=keep_untagged).collect(dry=dry))
        while not task.done():
            await self.storage.quiet()
            if not task.done() and self.clock._sleepers:
                await self.clock.advance(60)
        return task.result()

    async def keys(self, prefix: str) -> list[str]:
        return [entry.key for entry in await self.storage.entries(prefix)]


@pytest.fixture
def ground() -> Ground:
    return Ground()


async def test_what_an_image_refers_to_stays(ground: Ground) -> None:
    await push(ground.registry, "apps/web", b"config", b"layer")
    for _ in range(4):
        await ground.clock.advance(2 * DAY)
        report = await ground.collect()
    assert (report.blobs, report.condemned, report.removed, report.parts) == (2, 0, 0, 0)
    assert await ground.registry.manifests.find("apps/web", "latest") is not None


async def test_what_nothing_refers_to_is_condemned_by_one_collection_and_removed_by_a_later_one(ground: Ground) -> None:
    await push(ground.registry, "apps/web", b"config", b"shared")
    gone = await push(ground.registry, "apps/old", b"old config", b"shared", b"old layer")
    assert await ground.registry.manifests.delete("apps/old", gone)
    await ground.clock.advance(DAY + 1)
    report = await ground.collect()
    assert (report.condemned, report.removed) == (2, 0)
    await ground.clock.advance(DAY - HOUR)
    report = await ground.collect()
    assert (report.condemned, report.waiting, report.removed) == (0, 2, 0)
    await ground.clock.advance(HOUR)
    report = await ground.collect()
    assert (report.removed, report.freed) == (2, len(b"old config") + len(b"old layer"))
    assert len(await ground.keys(layout.BLOBS)) == 2
    assert len(await ground.keys(layout.PARTS)) == 2
    assert await ground.keys(layout.links("apps/old")) == [layout.link("apps/old", digest(b"shared"))]
    for prefix in (layout.CONDEMNED, layout.DOOMED, layout.COLLECTING, layout.CLOCKS):
        assert await ground.keys(prefix) == []


async def put(registry: Registry, repository: str, content: bytes, kind: str = OCI_IMAGE, *tags: str) -> Digest:
    return (await registry.manifests.put(repository, content, kind, tags=tags)).digest


def an_index(*digests: Digest, **more: Any) -> bytes:
    listed = [{"mediaType": OCI_IMAGE, "digest": str(each), "size": 1} for each in digests]
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed, **more}).encode()


def about(subject: Digest, config: bytes) -> bytes:
    """A manifest whose subject is another one."""
    described = {"mediaType": OCI_IMAGE, "digest": str(subject), "size": 1}
    return json.dumps({**json.loads(manifest(config)), "subject": described}).encode()


async def rounds(ground: Ground, count: int, pause: float = DAY + 1) -> list[Report]:
    reports = []
    for _ in range(count):
        await ground.clock.advance(pause)
        reports.append(await ground.collect())
    return reports


async def test_five_pushes_of_one_tag_leave_one_image(ground: Ground) -> None:
    for number in range(5):
        await push(ground.registry, "apps/web", b"config", b"base", b"layer %d" % number)
    first, second = await rounds(ground, 2)
    assert (first.manifests, first.untagged, first.untagged_removed, first.condemned) == (5, 4, 0, 4)
    assert (second.untagged, second.untagged_removed, second.removed, second.freed) == (0, 4, 4, 4 * len(b"layer 0"))
    assert len(await ground.keys(layout.manifests("apps/web"))) == 1
    assert await ground.keys(layout.UNTAGGED) == []
    await whole(ground.storage)
    await ground.registry.manifests.untag("apps/web", "latest")
    await rounds(ground, 2)
    for prefix in (layout.BLOBS, layout.PARTS, layout.REPOSITORIES, layout.UNTAGGED, layout.CONDEMNED, layout.DOOMED):
        assert await ground.keys(prefix) == []


async def test_the_grace_of_a_manifest_begins_when_it_is_found_untagged(ground: Ground) -> None:
    old = await push(ground.registry, "apps/web", b"config", b"old")
    await rounds(ground, 3, 30 * DAY)
    await push(ground.registry, "apps/web", b"config", b"new")
    assert (await rounds(ground, 1, HOUR))[0].untagged == 1
    assert (await rounds(ground, 1, DAY - HOUR))[0].untagged_removed == 0
    assert await ground.registry.manifests.find("apps/web", old) is not None
    assert (await rounds(ground, 1, HOUR))[0].untagged_removed == 1
    assert await ground.registry.manifests.find("apps/web", old) is None


async def test_what_a_tag_an_index_or_a_referrer_needs_stays(ground: Ground) -> None:
    registry = ground.registry
    for blob in (b"a", b"b", b"c", b"d", b"e", b"f"):
        await registry.uploads.put("apps/web", digest(blob), once(blob))
    child = await put(registry, "apps/web", manifest(b"a"))
    inner = await put(registry, "apps/web", an_index(child), OCI_INDEX)
    outer = await put(registry, "apps/web", an_index(inner), OCI_INDEX, "multi")
    signature = await put(registry, "apps/web", about(child, b"b"))
    attestation = await put(registry, "apps/web", about(signature, b"c"))
    subject = await put(registry, "apps/web", manifest(b"d"))
    tagged_referrer = await put(registry, "apps/web", about(subject, b"e"), OCI_IMAGE, "sbom")
    lost = await put(registry, "apps/web", about(digest(b"never pushed"), b"f"))
    await rounds(ground, 3)
    for needed in (child, inner, outer, signature, attestation, subject, tagged_referrer):
        assert await registry.manifests.find("apps/web", needed) is not None
    assert await registry.manifests.find("apps/web", lost) is None
    assert await ground.keys(layout.referrers("apps/web", digest(b"never pushed"))) == []
    await registry.manifests.untag("apps/web", "multi")
    await rounds(ground, 2)
    assert {entry.split("/")[-1] for entry in await ground.keys(layout.manifests("apps/web"))} == {subject.hex, tagged_referrer.hex}
    await whole(ground.storage)


async def test_needed_is_meant_within_one_repository(ground: Ground) -> None:
    await push(ground.registry, "apps/web", b"config")
    for blob in (b"config",):
        await ground.registry.uploads.put("apps/other", digest(blob), once(blob))
    here = await put(ground.registry, "apps/other", manifest(b"config"))
    await rounds(ground, 2)
    assert await ground.registry.manifests.find("apps/other", here) is None
    assert await ground.registry.manifests.find("apps/web", here) is not None


@pytest.mark.parametrize("way", ["tagged", "pushed again", "put into an index"])
async def test_a_marked_manifest_that_is_wanted_again_stays(ground: Ground, way: str) -> None:
    await ground.registry.uploads.put("apps/web", digest(b"config"), once(b"config"))
    name = await put(ground.registry, "apps/web", manifest(b"config"))
    assert (await rounds(ground, 1))[0].untagged == 1
    await ground.clock.advance(DAY)
    if way == "put into an index":
        await put(ground.other, "apps/web", an_index(name), OCI_INDEX, "multi")
    else:
        await put(ground.other, "apps/web", manifest(b"config"), OCI_IMAGE, *(["kept"] if way == "tagged" else []))
    report = await ground.collect()
    assert (report.untagged_removed, report.removed) == (0, 0)
    assert await ground.registry.manifests.find("apps/web", name) is not None
    assert await ground.keys(layout.UNTAGGED) == []
    await whole(ground.storage)


@pytest.mark.parametrize("tag", [(), ("latest",)])
async def test_a_manifest_that_is_being_removed_is_taken_in_again_only_when_it_is_gone(ground: Ground, tag: tuple[str, ...]) -> None:
    await ground.registry.uploads.put("apps/web", digest(b"config"), once(b"config"))
    name = await put(ground.registry, "apps/web", manifest(b"config"))
    await rounds(ground, 1)
    await ground.clock.advance(DAY + 1)
    task = asyncio.create_task(Collector(ground.storage, ground.clock).collect())
    while not ground.clock._sleepers:
        await ground.storage.quiet()
    for content, kind in ((manifest(b"config"), OCI_IMAGE), (an_index(name), OCI_INDEX)):
        with pytest.raises(Fault) as caught:
            await put(ground.other, "apps/web", content, kind, *tag)
        assert caught.value.status in (404, 503)
    while not task.done():
        await ground.clock.advance(60)
        await ground.storage.quiet()
    assert task.result().untagged_removed == 1
    await push(ground.other, "apps/web", b"config")
    await whole(ground.storage)


async def test_untagged_manifests_are_kept_where_that_is_wished(ground: Ground) -> None:
    for number in range(3):
        await push(ground.registry, "apps/web", b"config", b"layer %d" % number)
    for _ in range(3):
        await ground.clock.advance(2 * DAY)
        report = await ground.collect(keep_untagged=True)
        assert (report.manifests, report.untagged, report.condemned) == (3, 0, 0)


async def test_a_dry_run_foresees_the_end_of_untagged_manifests(ground: Ground) -> None:
    await push(ground.registry, "apps/web", b"config", b"old")
    await push(ground.registry, "apps/web", b"config", b"new")
    await ground.clock.advance(DAY + 1)
    foreseen = await ground.collect(dry=True)
    assert (foreseen.untagged, foreseen.untagged_removed) == (1, 0)
    assert await ground.keys(layout.UNTAGGED) == []
    await ground.collect()
    await ground.clock.advance(DAY + 1)
    foreseen = await ground.collect(dry=True)
    assert (foreseen.untagged_removed, foreseen.removed, foreseen.freed) == (1, 1, 3)
    assert len(await ground.keys(layout.manifests("apps/web"))) == 2


async def test_young_blobs_are_left_alone(ground: Ground) -> None:
    await ground.registry.uploads.put("apps/web", digest(b"layer"), once(b"layer"))
    await ground.clock.advance(HOUR)
    assert (await ground.collect()).condemned == 0


async def test_a_condemned_blob_is_unknown_to_pushes_and_pulled_all_the_same(ground: Ground) -> None:
    await ground.registry.uploads.put("apps/web", digest(b"layer"), once(b"layer"))
    await ground.clock.advance(DAY + 1)
    assert (await ground.collect()).condemned == 1
    assert await ground.other.blobs.find("apps/web", digest(b"layer"), pushing=True) is None
    assert await ground.other.blobs.find("apps/web", digest(b"layer")) is not None


@pytest.mark.parametrize("way", ["pushed again", "referred to"])
async def test_a_condemned_blob_that_is_wanted_again_is_acquitted(ground: Ground, way: str) -> None:
    await ground.registry.uploads.put("apps/web", digest(b"layer"), once(b"layer"))
    await ground.registry.uploads.put("apps/web", digest(b"config"), once(b"config"))
    await ground.clock.advance(DAY + 1)
    assert (await ground.collect()).condemned == 2
    if way == "pushed again":
        await push(ground.other, "apps/web", b"config", b"layer")
    else:  # by a push that had asked for its blobs before they were condemned
        await ground.other.manifests.put("apps/web", manifest(b"config", b"layer"), OCI_IMAGE, tags=["latest"])
    await ground.clock.advance(DAY + 1)
    report = await ground.collect()
    assert (report.removed, report.acquitted, report.waiting) == (0, 0, 0)
    assert await ground.keys(layout.CONDEMNED) == []
    await whole(ground.storage)


async def test_a_doomed_blob_is_taken_in_again_only_when_it_is_gone(ground: Ground) -> None:
    await ground.registry.uploads.put("apps/web", digest(b"layer"), once(b"layer"))
    await ground.clock.advance(DAY + 1)
    await ground.collect()
    await ground.clock.advance(DAY + 1)
    task = asyncio.create_task(Collector(ground.storage, ground.clock).collect())
    while not ground.clock._sleepers:
        await ground.storage.quiet()
    with pytest.raises(Fault) as caught:
        await ground.other.uploads.put("apps/web", digest(b"layer"), once(b"layer"))
    assert (caught.value.status, "Retry-After" in caught.value.headers) == (503, True)
    while not task.done():
        await ground.clock.advance(60)
        await ground.storage.quiet()
    assert task.result().removed == 1
    await push(ground.other, "apps/web", b"layer")
    await whole(ground.storage)


async def test_a_push_that_lifts_a_sentence_too_late_lets_no_other_push_in(ground: Ground) -> None:
    """The first push lifts the sentence and sees that the blob is being removed; the second finds no sentence any more."""
    await ground.registry.uploads.put("apps/web", digest(b"layer"), once(b"layer"))
    await ground.clock.advance(DAY + 1)
    await ground.collect()
    await ground.clock.advance(DAY + 1)
    task = asyncio.create_task(Collector(ground.storage, ground.clock).collect())
    while not ground.clock._sleepers:
        await ground.storage.quiet()
    for _ in range(2):
        with pytest.raises(Fault):
            await ground.other.manifests.put("apps/web", manifest(b"layer"), OCI_IMAGE)
    while not task.done():
        await ground.clock.advance(60)
        await ground.storage.quiet()
    await whole(ground.storage)


async def test_uploads_that_nobody_goes_on_with_end_and_their_data_goes(ground: Ground) -> None:
    upload = await ground.registry.uploads.begin("apps/web")
    await ground.registry.uploads.append(upload, once(b"half"))
    await ground.clock.advance(DAY - 1)
    living = await ground.registry.uploads.begin("apps/web")
    await ground.registry.uploads.append(living, once(b"other half"))
    await ground.clock.advance(2)
    report = await ground.collect()
    assert (report.uploads, report.parts, report.freed) == (1, 1, 4)
    with pytest.raises(Fault):
        await ground.other.uploads.find("apps/web", upload.id)
    assert (await ground.other.uploads.find("apps/web", living.id)).size == 10


async def test_whoever_goes_on_with_an_upload_that_has_just_ended_is_told(ground: Ground) -> None:
    begun = await ground.registry.uploads.append(await ground.registry.uploads.begin("apps/web"), once(b"half"))
    looked_at = await ground.other.uploads.find("apps/web", begun.id)
    await ground.clock.advance(DAY + 1)
    assert (await ground.collect()).uploads == 1
    with pytest.raises(Fault) as caught:
        await ground.other.uploads.finish(looked_at, digest(b"half"))
    assert caught.value.status in (404, 416)
    assert await ground.keys(layout.BLOBS) == []
    await ground.clock.advance(DAY + 1)
    await ground.collect()
    assert await ground.keys(layout.UPLOADS) == []


async def test_data_that_nothing_names_goes(ground: Ground) -> None:
    await ground.storage.put(layout.part("00000000-0000-0000-0000-000000000000", "x"), b"orphan")
    await ground.clock.advance(DAY + 1)
    report = await ground.collect()
    assert (report.parts, report.freed) == (1, 6)
    assert await ground.keys(layout.PARTS) == []


async def test_a_dry_run_foresees_and_writes_nothing(ground: Ground) -> None:
    await ground.registry.uploads.put("apps/web", digest(b"layer"), once(b"layer"))
    await ground.storage.put(layout.part("00000000-0000-0000-0000-000000000000", "x"), b"orphan")
    await ground.clock.advance(DAY + 1)
    before = await ground.keys("")
    foreseen = await ground.collect(dry=True)
    assert (foreseen.condemned, foreseen.condemned_bytes, foreseen.parts) == (1, 5, 1)
    assert await ground.keys("") == before
    await ground.collect()
    await ground.clock.advance(DAY + 1)
    foreseen = await ground.collect(dry=True)
    assert (foreseen.removed, foreseen.freed) == (1, 5)
    assert await ground.registry.blobs.find("apps/web", digest(b"layer")) is not None


async def test_a_manifest_that_cannot_be_read_stops_the_collection_before_anything_is_removed(ground: Ground) -> None:
    await ground.registry.uploads.put("apps/web", digest(b"layer"), once(b"layer"))
    await ground.storage.put(layout.manifest("apps/web", digest(b"damaged")), b"type\n{")
    await ground.clock.advance(DAY + 1)
    with pytest.raises(StoreUnavailable, match="damaged"):
        await ground.collect()
    assert await ground.keys(layout.CONDEMNED) == []
    assert await ground.keys(layout.COLLECTING) == []


async def test_one_collector_at_a_time(ground: Ground) -> None:
    await ground.storage.put(layout.collecting(7), b"another")
    with pytest.raises(Conflict, match="another garbage collection is at work"):
        await ground.collect()
    await ground.clock.advance(STALE_SECONDS)
    await ground.collect()
    assert await ground.keys(layout.COLLECTING) == []


async def test_a_collector_that_was_followed_by_another_removes_nothing_any_more(ground: Ground) -> None:
    await ground.registry.uploads.put("apps/web", digest(b"layer"), once(b"layer"))
    await ground.clock.advance(DAY + 1)
    await ground.collect()
    await ground.clock.advance(DAY + 1)
    task = asyncio.create_task(Collector(ground.storage, ground.clock).collect())
    while not ground.clock._sleepers:
        await ground.storage.quiet()
    await ground.storage.put(layout.collecting(99), b"another")
    await ground.clock.advance(60)
    with pytest.raises(Conflict, match="another may have taken over"):
        await task
    assert await ground.registry.blobs.find("apps/web", digest(b"layer")) is not None


async def test_marks_of_a_collector_that_died_are_no_obstacle(ground: Ground) -> None:
    await ground.registry.uploads.put("apps/web", digest(b"layer"), once(b"layer"))
    await ground.storage.put(layout.doomed(digest(b"layer")), b"")
    await ground.collect()
    await push(ground.registry, "apps/web", b"layer")
    await whole(ground.storage)


async def test_the_stores_clock_counts_and_not_that_of_the_collectors_machine(ground: Ground) -> None:
    await ground.registry.uploads.put("apps/web", digest(b"layer"), once(b"layer"))
    ahead = FakeClock(ground.clock.now() + 10 * DAY)
    report = await Collector(ground.storage, ahead).collect()
    assert (report.condemned, report.parts) == (0, 0)


async def test_a_collection_is_due_once_for_all_registries(ground: Ground) -> None:
    collector = Collector(ground.storage, ground.clock)
    assert await collector.due_in(DAY) == 0
    await ground.collect()
    assert DAY - 60 < await collector.due_in(DAY) <= DAY
    await ground.clock.advance(DAY)
    assert await collector.due_in(DAY) <= 0


@pytest.mark.parametrize(
    ("content", "count"),
    [
        (manifest(b"a", b"b", b"c"), 3),
        (json.dumps({"manifests": [{"digest": str(digest(b"a"))}], "subject": {"digest": str(digest(b"b"))}}).encode(), 2),
        (json.dumps({"annotations": {"any": str(digest(b"a"))}, "deep": [[{"x": str(digest(b"b"))}]]}).encode(), 2),
        (b'{"config": {"digest": "sha256:nonsense"}}', 0),
        (b'{"config": {"digest": "\\u0073ha256:' + digest(b"a").hex.encode() + b'"}}', 1),  # however it is spelled
    ],
)
def test_every_digest_in_a_manifest_counts(content: bytes, count: int) -> None:
    assert len(read(b"type\n" + content, "key").references) == count


async def whole(storage: Storage) -> None:
    """Every stored manifest's blobs are there, whole, and its repository gives them out. A manifest that goes while it is looked at may
    miss what it likes."""
    for key in [entry.key for entry in await storage.entries(layout.REPOSITORIES) if layout.is_manifest(entry.key)]:
        missing = await missed(storage, key)
        assert not missing or (await storage.get([key]))[0] is None, f"{key} misses {missing}"


async def missed(storage: Storage, key: str) -> list[str]:
    (content,) = await storage.get([key])
    if content is None:
        return []
    media_type, _, body = content.partition(b"\n")
    missing = []
    for blob in documents.parse(body, media_type.decode()).blobs:
        link, record = await storage.get([layout.link(layout.repository_of(key), blob), layout.blob(blob)])
        if link is None or record is None:
            missing.append(f"link or record of {blob}")
        elif None in await storage.get([part.key for part in decoded(record, BlobRecord, key).parts]):
            missing.append(f"data of {blob}")
    return missing


IMAGES = ((b"c1", b"x"), (b"c2", b"x", b"y"), (b"c1", b"y"))
MINUTE = 60.0


class Drama(Ground):
    """Clients and collectors whose operations on the store happen one at a time, in an order that is drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks: set[asyncio.Task[Any]] = set()
        self.thinking: list[asyncio.Future[None]] = []

    def begin(self, call: Callable[[], Awaitable[Any]]) -> None:
        async def act() -> None:
            with suppress(ArgosyError):  # refused, or a collector among others
                await call()

        self.tasks.add(asyncio.create_task(act()))

    async def think(self) -> None:
        """A client may take any time between two requests."""
        thought: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.thinking.append(thought)
        await thought

    async def push(self, which: int) -> None:
        registry = (self.registry, self.other)[which % 2]
        repository = ("one", "two")[which // 2 % 2]
        blobs = IMAGES[which // 4 % 3]
        wanted = [blob for blob in blobs if await registry.blobs.find(repository, digest(blob), pushing=True) is None]
        await self.think()
        for blob in wanted:
            if not (which // 12 % 2 and await registry.blobs.mount(repository, digest(blob), ("two", "one")[which // 2 % 2])):
                await registry.uploads.put(repository, digest(blob), once(blob))
        await self.think()
        await registry.manifests.put(repository, manifest(*blobs), OCI_IMAGE, tags=["t"])

    async def delete(self, which: int) -> None:
        content = manifest(*IMAGES[which % 3])
        await self.registry.manifests.delete(("one", "two")[which % 2], digest(content))

    async def step(self, number: int) -> None:
        choices = len(self.storage.waiting) + len(self.thinking)
        if choices:
            number %= choices
            if number < len(self.storage.waiting):
                self.storage.let_go(number)
            else:
                self.thinking.pop(number - len(self.storage.waiting)).set_result(None)
        await self.storage.quiet()

    async def pass_time(self, seconds: float) -> None:
        """Requests end within a minute: those under way end first, in the order in which they wait."""
        while self.storage.waiting:
            self.storage.let_go(0)
            await self.storage.quiet()
        await self.check()
        await self.clock.advance(seconds)
        await self.storage.quiet()

    async def check(self) -> None:
        self.storage.stepping = False
        await whole(self.storage)
        self.storage.stepping = True

    async def end(self) -> None:
        self.storage.stepping = False
        while not all(task.done() for task in self.tasks):
            for turn in (*self.storage.waiting, *self.thinking):
                turn.set_result(None)
            self.storage.waiting.clear()
            self.thinking.clear()
            await self.storage.quiet()
            await self.clock.advance(MINUTE)
        await asyncio.gather(*self.tasks)
        await whole(self.storage)


EXAMPLES = int(os.environ.get("ARGOSY_TEST_EXAMPLES", "8"))

ACTIONS = st.one_of(
    st.tuples(st.just("push"), st.integers(0, 23)),
    st.tuples(st.just("delete"), st.integers(0, 5)),
    st.tuples(st.just("collect"), st.just(0)),
    st.tuples(st.just("time"), st.sampled_from([1, 61, 2 * 86400])),
    st.tuples(st.just("steps"), st.integers(1, 12)),
)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(ACTIONS, min_size=10, max_size=30), st.integers(0, 2**32))
def test_no_stored_manifest_ever_misses_a_blob(actions: list[tuple[str, int]], seed: int) -> None:
    chance = Random(seed)

    async def play() -> None:
        drama = Drama()
        await push(drama.registry, "one", *IMAGES[0])
        await push(drama.registry, "two", *IMAGES[1])
        await drama.clock.advance(2 * DAY)
        drama.storage.stepping = True
        for kind, value in actions:
            if kind == "push":
                drama.begin(lambda value=value: drama.push(value))  # type: ignore[misc]
            elif kind == "delete":
                drama.begin(lambda value=value: drama.delete(value))  # type: ignore[misc]
            elif kind == "collect":
                drama.begin(Collector(drama.storage, drama.clock).collect)
            elif kind == "time":
                await drama.pass_time(value)
            for _ in range(value if kind == "steps" else 1):
                await drama.step(chance.randrange(1000))
        await drama.end()

    asyncio.run(play())


async def test_the_drama_removes_what_it_may(ground: Ground) -> None:
    """That the test above is not safe for want of removals: a delete, two collections and a push in between."""
    drama = Drama()
    await push(drama.registry, "one", *IMAGES[0])
    await drama.delete(0)
    for _ in range(2):
        await drama.clock.advance(2 * DAY)
        report = await drama.collect()
    assert report.removed == 2
    await settle()


async def named(storage: Storage) -> None:
    """Every tag and every index that a tag stands for find their manifests."""
    keys = [entry.key for entry in await storage.entries(layout.REPOSITORIES)]
    tags = [key for key in keys if layout.is_tag(key)]
    for key, content in zip(tags, await storage.get(tags), strict=True):
        repository = layout.repository_of(key)
        left = [Digest(*(content or b"").decode().split(":"))]
        while left:
            wanted = layout.manifest(repository, left.pop())
            (stored,) = await storage.get([wanted])
            assert stored is not None, f"{key} misses {wanted}"
            document = json.loads(stored.partition(b"\n")[2])
            left += [Digest(*each["digest"].split(":")) for each in document.get("manifests", [])]


class Moving(Drama):
    """Tags move, and manifests come without any; nobody deletes."""

    async def push(self, which: int) -> None:
        registry = (self.registry, self.other)[which % 2]
        content, kind = manifest(*IMAGES[which // 2 % 3]), OCI_IMAGE
        if which // 6 % 2:
            content, kind = an_index(digest(content)), OCI_INDEX
        for blob in IMAGES[which // 2 % 3]:
            if await registry.blobs.find("one", digest(blob), pushing=True) is None:
                await registry.uploads.put("one", digest(blob), once(blob))
        await self.think()
        if kind == OCI_INDEX:
            await registry.manifests.put("one", manifest(*IMAGES[which // 2 % 3]), OCI_IMAGE)
            await self.think()
        await registry.manifests.put("one", content, kind, tags=((), ("t",), ("u",))[which // 12 % 3])

    async def check(self) -> None:
        await super().check()
        self.storage.stepping = False
        await named(self.storage)
        self.storage.stepping = True


MOVES = st.one_of(
    st.tuples(st.just("push"), st.integers(0, 35)),
    st.tuples(st.just("collect"), st.just(0)),
    st.tuples(st.just("time"), st.sampled_from([1, 61, 2 * 86400])),
    st.tuples(st.just("steps"), st.integers(1, 12)),
)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(MOVES, min_size=10, max_size=30), st.integers(0, 2**32))
def test_no_tag_ever_loses_what_it_stands_for(actions: list[tuple[str, int]], seed: int) -> None:
    chance = Random(seed)

    async def play() -> None:
        drama = Moving()
        for which in range(3):
            await push(drama.registry, "one", *IMAGES[which])
        await drama.clock.advance(2 * DAY)
        drama.storage.stepping = True
        for kind, value in actions:
            if kind == "push":
                drama.begin(lambda value=value: drama.push(value))  # type: ignore[misc]
            elif kind == "collect":
                drama.begin(Collector(drama.storage, drama.clock).collect)
            elif kind == "time":
                await drama.pass_time(value)
            for _ in range(value if kind == "steps" else 1):
                await drama.step(chance.randrange(1000))
        await drama.end()
        await named(drama.storage)

    asyncio.run(play())
