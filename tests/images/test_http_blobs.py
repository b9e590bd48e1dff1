"""Blobs and uploads as clients see them."""

from __future__ import annotations

import random

import pytest

from argosy.images import blobs as blobs_module
from argosy.images.objects import PART_LIMIT
from tests.images.house import OCTETS, Client, digest_of

LARGE = random.Random(1).randbytes(PART_LIMIT + 100_000)
"""More than a part of a cloud's objects, more than what is answered from memory."""

MIDDLE = random.Random(2).randbytes(blobs_module.SMALL + 1)
UNKNOWN = digest_of(b"nobody has pushed this")


@pytest.mark.parametrize("path", ["/v2/", "/v2"])
async def test_the_api_is_there(client: Client, path: str) -> None:
    answer = await client.ask("GET", path)
    assert (answer.status, answer.json) == (200, {})
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


@pytest.mark.parametrize("content", [b"", b"x", MIDDLE, LARGE], ids=["empty", "one", "middle", "large"])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_what_was_pushed_in_one_piece_is_pulled_the_same(client: Client, content: bytes, algorithm: str) -> None:
    digest = await client.push("a/b", content, algorithm)
    for _ in range(2):  # the second one is answered with what the registry remembers
        answer = await client.ask("GET", f"a/b/blobs/{digest}")
        assert (answer.status, answer.body) == (200, content)
        assert answer.headers["Docker-Content-Digest"] == digest
        assert answer.headers["ETag"] == f'"{digest}"'
        assert answer.headers["Content-Type"] == OCTETS
        assert answer.headers["Content-Length"] == str(len(content))
    head = await client.ask("HEAD", f"a/b/blobs/{digest}")
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(len(content)))
    assert head.headers["Docker-Content-Digest"] == digest
    assert await client.keys("uploads/") == []


async def test_a_post_with_the_digest_pushes_at_once(client: Client) -> None:
    answer = await client.ask("POST", f"a/blobs/uploads/?digest={digest_of(b'abc')}", b"abc", Content_Type=OCTETS)
    assert answer.status == 201
    assert (await client.ask("GET", answer.headers["Location"])).body == b"abc"
    assert await client.keys("uploads/") == []


async def test_an_upload_in_chunks_tells_how_far_it_is(client: Client) -> None:
    location = await client.begin("a")
    for start, piece in [(0, b"0123"), (4, b"456"), (7, b"7")]:
        answer = await client.ask("PATCH", location, piece, Content_Range=f"{start}-{start + len(piece) - 1}", Content_Type=OCTETS)
        assert answer.status == 202
        assert answer.headers["Range"] == f"0-{start + len(piece) - 1}"
        location = answer.headers["Location"]
        status = await client.ask("GET", location)
        assert (status.status, status.headers["Range"], status.headers["Location"]) == (204, answer.headers["Range"], location)
    digest = digest_of(b"0123456789")
    answer = await client.ask("PUT", f"{location}?digest={digest}", b"89", Content_Range="8-9", Content_Type=OCTETS)
    assert (answer.status, answer.headers["Location"]) == (201, f"/v2/a/blobs/{digest}")
    assert (await client.ask("GET", f"a/blobs/{digest}")).body == b"0123456789"
    assert (await client.ask("GET", location)).told == (404, "BLOB_UPLOAD_UNKNOWN")


async def test_docker_streams_a_layer_and_closes_the_upload_after_it(client: Client) -> None:
    async def stream() -> object:
        for start in range(0, len(LARGE), 100_000):
            yield LARGE[start : start + 100_000]

    location = await client.begin("a")
    answer = await client.ask("PATCH", location, stream())
    assert (answer.status, answer.headers["Range"]) == (202, f"0-{len(LARGE) - 1}")
    assert (await client.ask("PUT", f"{answer.headers['Location']}?digest={digest_of(LARGE)}")).status == 201
    assert (await client.ask("GET", f"a/blobs/{digest_of(LARGE)}")).body == LARGE


@pytest.mark.parametrize(
    ("announced", "sent", "expected"),
    [
        ("5-8", b"5678", (416, "BLOB_UPLOAD_INVALID")),  # leaves a gap
        ("0-3", b"0123", (416, "BLOB_UPLOAD_INVALID")),  # says again what is there
        ("4-9", b"4567", (400, "SIZE_INVALID")),  # is shorter than it says
        ("4-4", b"4567", (400, "SIZE_INVALID")),  # is longer than it says
        ("7-4", b"4567", (416, "BLOB_UPLOAD_INVALID")),
        ("four-seven", b"4567", (400, "BLOB_UPLOAD_INVALID")),
        ("4-", b"4567", (400, "BLOB_UPLOAD_INVALID")),
        ("-7", b"4567", (400, "BLOB_UPLOAD_INVALID")),
        ("4-99999999999999999999999999", b"4567", (400, "BLOB_UPLOAD_INVALID")),
    ],
)
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_a_piece_that_does_not_fit_is_refused_and_changes_nothing(
    client: Client, method: str, announced: str, sent: bytes, expected: tuple[int, str]
) -> None:
    location = await client.begin("a")
    await client.ask("PATCH", location, b"0123")
    before = await client.keys()
    query = f"?digest={digest_of(b'01234567')}" if method == "PUT" else ""
    answer = await client.ask(method, location + query, sent, Content_Range=announced)
    assert answer.told == expected
    if expected[0] == 416:
        assert (answer.headers["Range"], answer.headers["Location"]) in [("0-3", location)]
    assert await client.keys() == before
    assert (await client.ask("PUT", f"{location}?digest={digest_of(b'01234567')}", b"4567", Content_Range="4-7")).status == 201


@pytest.mark.parametrize(
    ("query", "code"),
    [
        (f"?digest={UNKNOWN}", "DIGEST_INVALID"),  # of something else
        ("?digest=sha256:abc", "DIGEST_INVALID"),
        (f"?digest=md5:{'0' * 32}", "DIGEST_INVALID"),
        (f"?digest=sha256:{'A' * 64}", "DIGEST_INVALID"),
        ("?digest=", "DIGEST_INVALID"),
        ("", "DIGEST_INVALID"),
    ],
)
async def test_a_wrong_digest_makes_no_blob(client: Client, query: str, code: str) -> None:
    location = await client.begin("a")
    answer = await client.ask("PUT", location + query, b"content")
    assert answer.told == (400, code)
    assert await client.keys("blobs/") == []
    assert await client.keys("parts/") == []
    assert await client.keys("repositories/") == []


async def test_what_was_given_the_wrong_digest_is_gone_as_a_whole(client: Client) -> None:
    location = await client.begin("a")
    await client.ask("PATCH", location, b"0123")
    assert (await client.ask("PUT", f"{location}?digest={UNKNOWN}", b"4567")).told == (400, "DIGEST_INVALID")
    assert await client.keys() == []
    assert (await client.ask("GET", location)).told == (404, "BLOB_UPLOAD_UNKNOWN")


async def test_an_announced_algorithm_is_hashed_as_it_comes_and_another_one_read_again(client: Client) -> None:
    for announced in ("sha256", "sha512"):
        for asked in ("sha256", "sha512"):
            content = f"{announced} {asked}".encode()
            location = await client.begin("a", f"?digest-algorithm={announced}")
            await client.ask("PATCH", location, content)
            assert (await client.ask("PUT", f"{location}?digest={digest_of(content, asked)}")).status == 201
    assert (await client.ask("POST", "a/blobs/uploads/?digest-algorithm=crc32")).told == (400, "DIGEST_INVALID")


async def test_a_cancelled_upload_leaves_nothing(client: Client) -> None:
    location = await client.begin("a")
    await client.ask("PATCH", location, b"0123")
    assert (await client.ask("DELETE", location)).status == 204
    assert await client.keys() == []
    for method in ("GET", "PATCH", "DELETE"):
        assert (await client.ask(method, location)).told == (404, "BLOB_UPLOAD_UNKNOWN")


async def test_an_upload_belongs_to_its_repository(client: Client) -> None:
    location = await client.begin("a")
    assert (await client.ask("GET", location.replace("/v2/a/", "/v2/b/"))).told == (404, "BLOB_UPLOAD_UNKNOWN")


@pytest.mark.parametrize("content", [b"0123456789" * 100, MIDDLE], ids=["small", "middle"])
@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-99", 0, 100),
        ("bytes=100-", 100, None),
        ("bytes=-10", -10, None),
        ("bytes=10-99999999999", 10, None),  # ends with the blob
        ("bytes=-99999999999", 0, None),
    ],
)
async def test_a_range_is_answered_with_that_part(client: Client, content: bytes, asked: str, start: int, end: int | None) -> None:
    digest = await client.push("a", content)
    part = content[start:end]
    first = start % len(content)
    answer = await client.ask("GET", f"a/blobs/{digest}", Range=asked)
    assert (answer.status, answer.body) == (206, part)
    assert answer.headers["Content-Range"] == f"bytes {first}-{first + len(part) - 1}/{len(content)}"
    assert answer.headers["Content-Length"] == str(len(part))


async def test_a_range_may_begin_and_end_in_any_part(client: Client) -> None:
    digest = await client.push("a", LARGE)
    for start, end in [(PART_LIMIT - 5, PART_LIMIT + 5), (PART_LIMIT, PART_LIMIT + 1), (PART_LIMIT - 1, PART_LIMIT), (5, len(LARGE))]:
        answer = await client.ask("GET", f"a/blobs/{digest}", Range=f"bytes={start}-{end - 1}")
        assert (answer.status, answer.body) == (206, LARGE[start:end])


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=10-20", "bytes=5-4", "bytes=-0"])
async def test_a_range_of_nothing_is_refused(client: Client, asked: str) -> None:
    digest = await client.push("a", b"0123456789")
    answer = await client.ask("GET", f"a/blobs/{digest}", Range=asked)
    assert answer.told == (416, "SIZE_INVALID")
    assert answer.headers["Content-Range"] == "bytes */10"


@pytest.mark.parametrize("asked", ["bytes=0-1,4-5", "lines=1-2", "bytes=", "bytes=-", "bytes=a-b", "0-1"])
async def test_what_is_no_single_range_of_bytes_is_answered_with_everything(client: Client, asked: str) -> None:
    digest = await client.push("a", b"0123456789")
    answer = await client.ask("GET", f"a/blobs/{digest}", Range=asked)
    assert (answer.status, answer.body) == (200, b"0123456789")


async def test_a_client_that_has_the_blob_is_not_sent_it_again(client: Client) -> None:
    digest = await client.push("a", b"0123456789")
    answer = await client.ask("GET", f"a/blobs/{digest}", If_None_Match=f'"{digest}"')
    assert (answer.status, answer.body) == (304, b"")
    assert (await client.ask("GET", f"a/blobs/{digest}", If_None_Match='"other"')).status == 200
    assert (await client.ask("GET", f"a/blobs/{digest}", Range="bytes=0-1", If_Range='"other"')).status == 200
    assert (await client.ask("GET", f"a/blobs/{digest}", Range="bytes=0-1", If_Range=f'"{digest}"')).status == 206


async def test_a_blob_belongs_to_the_repositories_that_have_it(client: Client) -> None:
    digest = await client.push("a", b"content")
    assert (await client.ask("GET", f"b/blobs/{digest}")).told == (404, "BLOB_UNKNOWN")
    assert (await client.ask("HEAD", f"b/blobs/{digest}")).status == 404
    mounted = await client.ask("POST", f"b/blobs/uploads/?mount={digest}&from=a")
    assert (mounted.status, mounted.headers["Location"]) == (201, f"/v2/b/blobs/{digest}")
    assert (await client.ask("GET", f"b/blobs/{digest}")).body == b"content"
    assert (await client.ask("DELETE", f"a/blobs/{digest}")).status == 202
    assert (await client.ask("GET", f"a/blobs/{digest}")).told == (404, "BLOB_UNKNOWN")
    assert (await client.ask("DELETE", f"a/blobs/{digest}")).told == (404, "BLOB_UNKNOWN")
    assert (await client.ask("GET", f"b/blobs/{digest}")).body == b"content"


@pytest.mark.parametrize("query", [f"?mount={UNKNOWN}&from=a", f"?mount={UNKNOWN}", f"?mount={UNKNOWN}&from=", f"?mount={UNKNOWN}&from=b"])
async def test_a_mount_that_cannot_be_becomes_an_upload(client: Client, query: str) -> None:
    await client.push("a", b"content")
    answer = await client.ask("POST", f"b/blobs/uploads/{query}")
    assert answer.status == 202
    assert (await client.ask("PUT", f"{answer.headers['Location']}?digest={digest_of(b'x')}", b"x")).status == 201


async def test_a_blob_is_found_wherever_it_is_when_a_mount_does_not_say(client: Client) -> None:
    digest = await client.push("a", b"content")
    assert (await client.ask("POST", f"b/blobs/uploads/?mount={digest}")).status == 201
    assert (await client.ask("GET", f"b/blobs/{digest}")).body == b"content"


async def test_data_is_kept_once_whoever_pushes_it(client: Client) -> None:
    await client.push("a", LARGE)
    before = await client.keys("parts/")
    await client.push("a", LARGE)
    await client.push("b", LARGE)
    assert await client.keys("parts/") == before


async def test_a_compressed_body_is_kept_as_it_came(client: Client) -> None:
    content = b"\x1f\x8b\x08 this is not gzip"
    location = await client.begin("a")
    answer = await client.ask("PUT", f"{location}?digest={digest_of(content)}", content, Content_Encoding="gzip")
    assert answer.status == 201
    assert (await client.ask("GET", f"a/blobs/{digest_of(content)}")).body == content
