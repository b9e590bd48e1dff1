"""Several registries on one store, as on several machines; and what is promised when two do the same at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence

import pytest

from argosy.images import layout
from argosy.images.faults import Fault
from argosy.images.names import Digest, digest
from argosy.images.records import BlobRecord, Part, decoded
from argosy.images.registry import Registry
from argosy.images.storage import Storage
from tests.images.house import Client, client_of, digest_of

CONTENT = random.Random(3).randbytes(300_000)
PIECES = [CONTENT[:100_000], CONTENT[100_000:100_001], CONTENT[100_001:]]


@pytest.fixture
async def others(storage: Storage) -> AsyncIterator[Sequence[Client]]:
    async with client_of(storage) as first, client_of(storage) as second:
        yield first, second


async def contents(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_an_upload_goes_on_on_any_machine(client: Client, others: Sequence[Client], algorithm: str) -> None:
    location = await client.begin("a")
    offset = 0
    for machine, piece in zip((client, others[0], others[1]), PIECES, strict=True):
        status = await machine.ask("GET", location)
        assert status.headers["Range"] == f"0-{max(offset - 1, 0)}"
        answer = await machine.ask("PATCH", location, piece, Content_Range=f"{offset}-{offset + len(piece) - 1}")
        assert answer.status == 202
        offset += len(piece)
    expected = digest_of(CONTENT, algorithm)
    assert (await others[0].ask("PUT", f"{location}?digest={expected}")).status == 201
    for machine in (client, *others):
        assert (await machine.ask("GET", f"a/blobs/{expected}")).body == CONTENT
        assert (await machine.ask("GET", location)).told == (404, "BLOB_UPLOAD_UNKNOWN")
    assert await client.keys("uploads/") == []


async def test_a_machine_that_comes_back_to_an_upload_goes_on_where_another_left_it(client: Client, others: Sequence[Client]) -> None:
    location = await client.begin("a")
    await client.ask("PATCH", location, PIECES[0])
    await others[0].ask("PATCH", location, PIECES[1])
    assert (await client.ask("PUT", f"{location}?digest={digest_of(CONTENT)}", PIECES[2])).status == 201
    assert (await client.ask("GET", f"a/blobs/{digest_of(CONTENT)}")).body == CONTENT


async def test_of_two_that_send_the_same_piece_one_is_told_that_it_is_late(client: Client, others: Sequence[Client]) -> None:
    location = await client.begin("a")
    answers = await asyncio.gather(*(machine.ask("PATCH", location, PIECES[0], Content_Range="0-99999") for machine in (client, *others)))
    assert sorted(answer.status for answer in answers) == [202, 416, 416]
    assert len(await client.keys("parts/")) == 1
    assert (await others[1].ask("PUT", f"{location}?digest={digest_of(PIECES[0])}")).status == 201


async def test_of_two_that_go_on_from_one_place_exactly_one_does(storage: Storage) -> None:
    """The same without HTTP, so that both have looked before either writes."""
    first, second = Registry(storage).uploads, Registry(storage).uploads
    begun = await first.begin("a")
    mine, theirs = await first.find("a", begun.id), await second.find("a", begun.id)
    assert (await first.append(mine, contents(b"mine"))).size == 4
    with pytest.raises(Fault) as caught:
        await second.append(theirs, contents(b"theirs"))
    assert caught.value.status == 416
    with pytest.raises(Fault) as caught:
        await second.finish(theirs, digest(digest_of(b"theirs")), contents(b"theirs"))
    assert caught.value.status == 416
    with pytest.raises(Fault) as caught:
        await second.cancel(theirs)
    assert caught.value.status == 416
    await first.finish(await first.find("a", begun.id), digest(digest_of(b"mine")))


async def test_one_blob_pushed_by_many_at_once_is_there_once_and_whole(client: Client, others: Sequence[Client]) -> None:
    machines = [client, *others]
    await asyncio.gather(*(machines[n % 3].push(f"a{n % 2}", CONTENT) for n in range(9)))
    assert len(await client.keys("blobs/")) == 1
    assert len(await client.keys("parts/")) == 1
    assert await client.keys("uploads/") == []
    for machine in machines:
        for repository in ("a0", "a1"):
            assert (await machine.ask("GET", f"{repository}/blobs/{digest_of(CONTENT)}")).body == CONTENT


async def test_an_upload_that_is_finished_twice_at_once_keeps_its_data(client: Client, others: Sequence[Client]) -> None:
    """A client that has lost patience asks again while the first request is still at work."""
    location = await client.begin("a")
    await client.ask("PATCH", location, CONTENT)
    machines = [client, *others, client]
    answers = await asyncio.gather(*(machine.ask("PUT", f"{location}?digest={digest_of(CONTENT)}") for machine in machines))
    assert {answer.status for answer in answers} <= {201, 404, 416}
    assert 201 in {answer.status for answer in answers}
    assert (await client.ask("GET", f"a/blobs/{digest_of(CONTENT)}")).body == CONTENT


async def test_a_tag_pushed_by_many_at_once_is_one_of_theirs(client: Client, others: Sequence[Client]) -> None:
    machines = [client, *others]
    pushed = await asyncio.gather(*(machines[n % 3].push_image("a", "latest", [f"{n}".encode()]) for n in range(6)))
    seen = {(await machine.ask("GET", "a/manifests/latest")).headers["Docker-Content-Digest"] for machine in machines}
    assert len(seen) == 1
    assert seen <= set(pushed)


async def test_a_verified_upload_whose_machine_died_is_finished_by_asking_again(storage: Storage, client: Client) -> None:
    location = await client.begin("a")
    await client.ask("PATCH", location, CONTENT)
    upload = await client.registry.uploads.find("a", location.rpartition("/")[2])
    ended = decoded((await storage.get([layout.step(upload.id, 1)]))[0] or b"", type(upload.step), "step")
    content = storage_step(ended.repository, ended.parts, digest_of(CONTENT))
    await storage.create(layout.step(upload.id, 2), content)  # as far as it came
    assert (await client.ask("GET", location)).told == (404, "BLOB_UPLOAD_UNKNOWN")
    assert (await client.ask("PUT", f"{location}?digest={digest_of(b'other')}")).told == (404, "BLOB_UPLOAD_UNKNOWN")
    assert (await client.ask("PUT", f"{location}?digest={digest_of(CONTENT)}")).status == 201
    assert (await client.ask("GET", f"a/blobs/{digest_of(CONTENT)}")).body == CONTENT
    assert await client.keys("uploads/") == []


def storage_step(repository: str, parts: Sequence[Part], ended: str) -> bytes:
    from_parts = ",".join(f'{{"key":"{part.key}","size":{part.size}}}' for part in parts)
    return f'{{"repository":"{repository}","algorithm":"sha256","parts":[{from_parts}],"ended":"{ended}"}}'.encode()


async def removed(storage: Storage, wanted: Digest) -> None:
    """As garbage collection does it."""
    (raw,) = await storage.get([layout.blob(wanted)])
    record = decoded(raw or b"", BlobRecord, "blob")
    await storage.delete([layout.link("a", wanted), layout.blob(wanted)])
    await storage.delete([part.key for part in record.parts])


@pytest.mark.parametrize("content", [b"small", CONTENT], ids=["small", "large"])
async def test_what_was_removed_and_pushed_again_is_read_from_where_it_is_now(storage: Storage, client: Client, content: bytes) -> None:
    async with client_of(storage) as other:
        pushed = await client.push("a", content)
        for _ in range(2):
            assert (await client.ask("GET", f"a/blobs/{pushed}")).body == content
        await removed(storage, digest(pushed))
        assert (await client.ask("GET", f"a/blobs/{pushed}")).told == (404, "BLOB_UNKNOWN")
        await other.push("a", content)
        for _ in range(2):
            assert (await client.ask("GET", f"a/blobs/{pushed}")).body == content


async def test_who_pushes_is_told_that_a_condemned_blob_is_unknown_and_pushing_it_acquits_it(storage: Storage, client: Client) -> None:
    pushed = await client.push("a", CONTENT)
    manifest = await client.image("a", [CONTENT])
    await storage.put(layout.condemned(digest(pushed)), b"")
    assert (await client.ask("HEAD", f"a/blobs/{pushed}")).status == 404
    assert (await client.ask("GET", f"a/blobs/{pushed}")).status == 200  # nobody who pulls is harmed
    assert (await client.ask("POST", f"b/blobs/uploads/?mount={pushed}&from=a")).status == 202
    assert (await client.ask("POST", f"b/blobs/uploads/?mount={pushed}")).status == 202
    before = await client.keys("parts/")
    await client.push("a", CONTENT)
    assert await client.keys("parts/") == before
    assert await client.keys("condemned/") == []
    assert (await client.ask("HEAD", f"a/blobs/{pushed}")).status == 200
    await client.push_manifest("a", "1", manifest)


async def test_a_doomed_blob_cannot_be_pushed_until_it_is_gone(storage: Storage, client: Client) -> None:
    pushed = await client.push("a", CONTENT)
    await storage.put(layout.condemned(digest(pushed)), b"")
    await storage.put(layout.doomed(digest(pushed)), b"")
    answer = await client.ask("PUT", f"{await client.begin('a')}?digest={pushed}", CONTENT)
    assert answer.told == (503, "UNAVAILABLE")
    assert int(answer.headers["Retry-After"]) > 0
    await removed(storage, digest(pushed))
    await storage.delete([layout.doomed(digest(pushed)), layout.condemned(digest(pushed))])
    await client.push("a", CONTENT)
    assert (await client.ask("GET", f"a/blobs/{pushed}")).body == CONTENT
