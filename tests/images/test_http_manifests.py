"""Manifests, tags, the catalog and referrers as clients see them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from argosy.images.documents import DOCKER_IMAGE, DOCKER_LIST, LARGEST, OCI_IMAGE, OCI_INDEX
from argosy.images.storage import Storage
from tests.images.house import Client, client_of, descriptor, digest_of, image, index

UNKNOWN = digest_of(b"nobody has pushed this")


async def put(client: Client, reference: str, content: bytes, media_type: str = OCI_IMAGE, repository: str = "a") -> Any:
    return await client.ask("PUT", f"{repository}/manifests/{reference}", content, Content_Type=media_type)


async def test_a_manifest_is_kept_byte_for_byte_and_found_by_tag_and_digest(client: Client) -> None:
    content = json.dumps(await client.image("a"), indent=3).encode() + b"\n\n"
    answer = await put(client, "1.0", content)
    digest = digest_of(content)
    assert (answer.status, answer.headers["Docker-Content-Digest"]) == (201, digest)
    assert answer.headers["Location"] == f"/v2/a/manifests/{digest}"
    for reference in ("1.0", "1.0", digest):
        got = await client.ask("GET", f"a/manifests/{reference}")
        assert (got.status, got.body) == (200, content)
        assert got.headers["Content-Type"] == OCI_IMAGE
        assert got.headers["Docker-Content-Digest"] == digest
        head = await client.ask("HEAD", f"a/manifests/{reference}")
        assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(len(content)))
        assert head.headers["Docker-Content-Digest"] == digest
    assert (await client.ask("GET", "a/manifests/1.0", If_None_Match=f'"{digest}"')).status == 304


async def test_a_tag_moves_to_what_is_pushed_under_it(client: Client) -> None:
    first = await client.push_image("a", "latest", [b"1"])
    second = await client.push_image("a", "latest", [b"2"])
    assert (await client.ask("GET", "a/manifests/latest")).headers["Docker-Content-Digest"] == second
    assert (await client.ask("GET", f"a/manifests/{first}")).status == 200


async def test_a_digest_of_either_algorithm_names_a_manifest(client: Client) -> None:
    content = json.dumps(await client.image("a")).encode()
    for algorithm in ("sha256", "sha512"):
        digest = digest_of(content, algorithm)
        assert (await put(client, digest, content)).headers["Docker-Content-Digest"] == digest
        assert (await client.ask("GET", f"a/manifests/{digest}")).body == content


async def test_a_push_by_digest_may_set_tags(client: Client) -> None:
    content = json.dumps(await client.image("a")).encode()
    digest = digest_of(content, "sha512")
    answer = await put(client, f"{digest}?tag=1&tag=1.2&tag=latest", content)
    assert (answer.status, answer.headers["OCI-Tag"]) == (201, "1, 1.2, latest")
    assert (await client.ask("GET", "a/tags/list")).json["tags"] == ["1", "1.2", "latest"]
    assert (await client.ask("GET", "a/manifests/1.2")).headers["Docker-Content-Digest"] == digest
    assert (await put(client, f"{digest}?tag=../x", content)).told == (400, "MANIFEST_INVALID")
    assert (await put(client, f"{digest}?" + "&".join(f"tag={n}" for n in range(101)), content)).told == (414, "UNSUPPORTED")
    assert (await put(client, "latest?tag=x", content)).told == (400, "UNSUPPORTED")


async def test_a_manifest_without_a_content_type_says_itself_what_it_is(client: Client) -> None:
    content = json.dumps(await client.image("a")).encode()
    answer = await client.ask("PUT", "a/manifests/1", content, Content_Type="")
    assert answer.status == 201
    assert (await client.ask("GET", "a/manifests/1")).headers["Content-Type"] == OCI_IMAGE


async def test_parameters_of_the_content_type_are_not_kept(client: Client) -> None:
    content = json.dumps(await client.image("a")).encode()
    assert (await put(client, "1", content, f"{OCI_IMAGE}; charset=utf-8")).status == 201
    assert (await client.ask("GET", "a/manifests/1")).headers["Content-Type"] == OCI_IMAGE


@pytest.mark.parametrize(
    ("reference", "content", "media_type", "expected"),
    [
        ("1", b"not json", OCI_IMAGE, (400, "MANIFEST_INVALID")),
        ("1", b"", OCI_IMAGE, (400, "MANIFEST_INVALID")),
        ("1", json.dumps(image()).encode(), OCI_INDEX, (400, "MANIFEST_INVALID")),
        ("1", json.dumps(image()).encode(), "application/json", (400, "MANIFEST_INVALID")),
        ("1", json.dumps(image()).encode(), "\udcff".encode("utf-8", "surrogateescape").decode("latin-1"), (400, "MANIFEST_INVALID")),
        (UNKNOWN, json.dumps(image()).encode(), OCI_IMAGE, (400, "DIGEST_INVALID")),
        ("sha256:1", json.dumps(image()).encode(), OCI_IMAGE, (400, "DIGEST_INVALID")),
        ("1", b" " * (LARGEST + 1), OCI_IMAGE, (413, "MANIFEST_INVALID")),
        ("1", json.dumps(image()).encode(), OCI_IMAGE, (404, "MANIFEST_BLOB_UNKNOWN")),
        ("1", json.dumps(index([UNKNOWN])).encode(), OCI_INDEX, (404, "MANIFEST_BLOB_UNKNOWN")),
    ],
)
async def test_what_is_no_good_manifest_is_refused_and_not_kept(
    client: Client, reference: str, content: bytes, media_type: str, expected: tuple[int, str]
) -> None:
    assert (await put(client, reference, content, media_type)).told == expected
    assert await client.keys() == []


async def test_everything_that_is_missing_is_named(client: Client) -> None:
    await client.push("a", b"{}")
    answer = await put(client, "1", json.dumps(image([b"1", b"2"])).encode())
    assert answer.codes == ["MANIFEST_BLOB_UNKNOWN"] * 2
    assert [error["detail"]["digest"] for error in answer.json["errors"]] == [digest_of(b"1"), digest_of(b"2")]


async def test_blobs_of_another_repository_do_not_count(client: Client) -> None:
    content = json.dumps(await client.image("b")).encode()
    assert (await put(client, "1", content)).told == (404, "MANIFEST_BLOB_UNKNOWN")


@pytest.mark.parametrize("path", ["a/manifests/nothing", f"a/manifests/{UNKNOWN}", "nothing/manifests/latest"])
async def test_a_manifest_that_is_not_there(client: Client, path: str) -> None:
    await client.push_image("a", "1")
    assert (await client.ask("GET", path)).told == (404, "MANIFEST_UNKNOWN")
    assert (await client.ask("HEAD", path)).status == 404
    assert (await client.ask("DELETE", path)).told == (404, "MANIFEST_UNKNOWN")


async def test_a_deleted_manifest_is_gone_with_its_tags(client: Client) -> None:
    first = await client.push_image("a", "1", [b"1"])
    second = await client.push_image("a", "2", [b"2"])
    await client.push_image("a", "one", [b"1"])
    assert (await client.ask("DELETE", f"a/manifests/{first}")).status == 202
    assert (await client.ask("GET", f"a/manifests/{first}")).status == 404
    assert (await client.ask("GET", "a/manifests/1")).status == 404
    assert (await client.ask("GET", "a/tags/list")).json["tags"] == ["2"]
    assert (await client.ask("GET", "a/manifests/2")).headers["Docker-Content-Digest"] == second


async def test_a_deleted_tag_leaves_its_manifest(client: Client) -> None:
    digest = await client.push_image("a", "1")
    assert (await client.ask("DELETE", "a/manifests/1")).status == 202
    assert (await client.ask("GET", "a/manifests/1")).status == 404
    assert (await client.ask("GET", f"a/manifests/{digest}")).status == 200
    assert (await client.ask("GET", "a/tags/list")).json == {"name": "a", "tags": []}


@pytest.mark.parametrize(
    ("accept", "found"),
    [
        (None, "index"),
        ("*/*", "index"),
        ("application/json", "index"),
        (f"{OCI_IMAGE}, {OCI_INDEX}", "index"),
        (f"{OCI_INDEX};q=0.5", "index"),
        (OCI_INDEX.upper(), "index"),
        (OCI_IMAGE, "image"),  # a client that knows no indexes gets the image for linux/amd64
        (DOCKER_IMAGE, None),
        ("text/html", None),
    ],
)
async def test_a_client_gets_what_it_accepts(client: Client, accept: str | None, found: str | None) -> None:
    digests = {"image": await client.push_image("a", "image"), "other": await client.push_image("a", "other", [b"arm"])}
    manifest = index([digests["other"], digests["image"]])
    for entry, architecture in zip(manifest["manifests"], ("arm64", "amd64"), strict=True):
        entry["platform"] = {"os": "linux", "architecture": architecture}
    digests["index"] = await client.push_manifest("a", "1", manifest)
    answer = await client.ask("GET", "a/manifests/1", **({} if accept is None else {"Accept": accept}))
    if found is None:
        assert answer.told == (404, "MANIFEST_UNKNOWN")
    else:
        assert answer.headers["Docker-Content-Digest"] == digests[found]
    by_digest = await client.ask("GET", f"a/manifests/{digests['index']}", Accept=OCI_IMAGE)
    assert by_digest.headers["Docker-Content-Digest"] == digests["index"]  # who names a digest gets that


async def test_dockers_own_types_are_served(client: Client) -> None:
    image_digest = await client.push_manifest("a", "1", {**await client.image("a"), "mediaType": DOCKER_IMAGE})
    await client.push_manifest("a", "list", {**index([image_digest]), "mediaType": DOCKER_LIST})
    assert (await client.ask("GET", "a/manifests/list", Accept=DOCKER_LIST)).headers["Content-Type"] == DOCKER_LIST


TAGS = ["1", "1.0", "2", "A", "_x", "a", "a-1", "a.1", "latest"]


@pytest.mark.parametrize(
    ("query", "tags", "following"),
    [
        ("", TAGS, None),
        ("?n=0", [], None),
        ("?n=100", TAGS, None),
        ("?n=9", TAGS, None),
        ("?n=4", TAGS[:4], "n=4&last=A"),
        ("?n=4&last=A", TAGS[4:8], "n=4&last=a.1"),
        ("?n=4&last=a.1", TAGS[8:], None),
        ("?last=_x", TAGS[5:], None),
        ("?n=2&last=b", TAGS[8:], None),  # not a tag that is there
        ("?n=2&last=zzz", [], None),
        ("?n=999999999999", TAGS, None),
    ],
)
async def test_tags_are_listed_in_order_and_in_pages(client: Client, query: str, tags: list[str], following: str | None) -> None:
    content = json.dumps(await client.image("a")).encode()
    await put(client, f"{digest_of(content)}?" + "&".join(f"tag={tag}" for tag in reversed(TAGS)), content)
    answer = await client.ask("GET", f"a/tags/list{query}")
    assert (answer.status, answer.json) == (200, {"name": "a", "tags": tags})
    assert answer.headers.get("Link") == (None if following is None else f'</v2/a/tags/list?{following}>; rel="next"')


@pytest.mark.parametrize("query", ["?n=-1", "?n=x", "?n=1.5", "?n=٣", "?last=../x", "?n=" + "9" * 5000])
async def test_a_page_that_is_none_is_refused(client: Client, query: str) -> None:
    await client.push_image("a", "1")
    answer = await client.ask("GET", f"a/tags/list{query}")
    assert answer.status == 400


async def test_a_repository_that_is_not_there_has_no_list_of_tags(client: Client) -> None:
    await client.push_image("a/b", "1")
    assert (await client.ask("GET", "a/tags/list")).told == (404, "NAME_UNKNOWN")  # only a prefix of one
    assert (await client.ask("GET", "b/tags/list")).told == (404, "NAME_UNKNOWN")
    await client.push("c", b"only a blob")
    assert (await client.ask("GET", "c/tags/list")).json == {"name": "c", "tags": []}


NAMES = ["a", "a-b", "a.b", "a/b", "a/b/c", "a0", "b/c", "z"]


@pytest.mark.parametrize(
    ("query", "names", "following"),
    [
        ("", NAMES, None),
        ("?n=3", NAMES[:3], "n=3&last=a.b"),
        ("?n=3&last=a.b", NAMES[3:6], "n=3&last=a0"),
        ("?n=3&last=a0", NAMES[6:], None),
        ("?last=a%2Fb", NAMES[4:], None),
        ("?last=a%2Fb%2Fb", NAMES[4:], None),
        ("?n=0", [], None),
    ],
)
async def test_the_catalog_is_sorted_and_comes_in_pages(client: Client, query: str, names: list[str], following: str | None) -> None:
    await client.push("only/a/blob", b"x")
    for name in reversed(NAMES):
        await client.push_image(name, "1")
    answer = await client.ask("GET", f"_catalog{query}")
    assert (answer.status, answer.json) == (200, {"repositories": names})
    assert answer.headers.get("Link") == (None if following is None else f'</v2/_catalog?{following}>; rel="next"')


async def test_what_refers_to_a_manifest_is_listed(client: Client) -> None:
    subject_digest = await client.push_image("a", "1")
    subject = {"mediaType": OCI_IMAGE, "digest": subject_digest, "size": 1}
    first = {**await client.image("a", [b"sbom"]), "subject": subject, "artifactType": "x/sbom", "annotations": {"a": "b"}}
    second = {**await client.image("a", [b"signature"]), "subject": subject}
    third = {**index([]), "subject": subject}
    expected = []
    for manifest, artifact_type in [(first, "x/sbom"), (second, manifest_config_type(second)), (third, None)]:
        content = json.dumps(manifest).encode()
        answer = await put(client, digest_of(content), content, manifest["mediaType"])
        assert answer.headers["OCI-Subject"] == subject_digest
        entry = {**descriptor(content, manifest["mediaType"])}
        entry |= {} if artifact_type is None else {"artifactType": artifact_type}
        entry |= {"annotations": {"a": "b"}} if manifest is first else {}
        expected.append(entry)
    expected.sort(key=lambda entry: entry["digest"])
    answer = await client.ask("GET", f"a/referrers/{subject_digest}")
    assert (answer.status, answer.headers["Content-Type"]) == (200, OCI_INDEX)
    assert answer.json == {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": expected}
    assert "OCI-Filters-Applied" not in answer.headers
    filtered = await client.ask("GET", f"a/referrers/{subject_digest}?artifactType=x/sbom")
    assert [entry["artifactType"] for entry in filtered.json["manifests"]] == ["x/sbom"]
    assert filtered.headers["OCI-Filters-Applied"] == "artifactType"
    for entry in expected:
        assert (await client.ask("DELETE", f"a/manifests/{entry['digest']}")).status == 202
    assert (await client.ask("GET", f"a/referrers/{subject_digest}")).json["manifests"] == []


def manifest_config_type(manifest: dict[str, Any]) -> str:
    return str(manifest["config"]["mediaType"])


@pytest.mark.parametrize("repository", ["a", "nothing"])
async def test_nothing_refers_to_what_nobody_has_pushed(client: Client, repository: str) -> None:
    answer = await client.ask("GET", f"{repository}/referrers/{UNKNOWN}")
    assert (answer.status, answer.json["manifests"]) == (200, [])
    assert (await client.ask("GET", f"{repository}/referrers/sha256:x")).told == (400, "DIGEST_INVALID")


async def test_a_manifest_may_come_before_its_subject(client: Client) -> None:
    content = json.dumps({**await client.image("a"), "subject": {"mediaType": OCI_IMAGE, "digest": UNKNOWN, "size": 1}}).encode()
    assert (await put(client, "1", content)).headers["OCI-Subject"] == UNKNOWN
    listed = await client.ask("GET", f"a/referrers/{UNKNOWN}")
    assert [entry["digest"] for entry in listed.json["manifests"]] == [digest_of(content)]


async def test_many_referrers_come_in_pages(client: Client) -> None:
    await client.image("a")
    expected = []
    for n in range(20):
        subject = {"mediaType": OCI_IMAGE, "digest": UNKNOWN, "size": 1}
        manifest = image(subject=subject, annotations={"n": f"{n}", "filling": "x" * 200_000})
        expected.append(await client.push_manifest("a", f"{n}", manifest))
    found: list[str] = []
    path: str | None = f"/v2/a/referrers/{UNKNOWN}"
    pages = 0
    while path is not None:
        answer = await client.ask("GET", path)
        assert len(answer.body) <= LARGEST
        found += [entry["digest"] for entry in answer.json["manifests"]]
        path = answer.headers["Link"].removeprefix("<").removesuffix('>; rel="next"') if "Link" in answer.headers else None
        pages += 1
    assert found == sorted(expected)
    assert pages == 2


async def test_what_was_not_written_to_the_end_is_not_listed(client: Client, storage: Storage) -> None:
    digest = await client.push_image("a", "1", subject={"mediaType": OCI_IMAGE, "digest": UNKNOWN, "size": 1})
    await storage.delete([f"repositories/a/_manifests/{digest.replace(':', '/')}"])  # as a machine that died between the two leaves it
    assert (await client.ask("GET", f"a/referrers/{UNKNOWN}")).json["manifests"] == []


async def test_another_registry_on_the_store_sees_everything_at_once(storage: Storage, client: Client) -> None:
    async with client_of(storage) as other:
        first = await client.push_image("a", "1", [b"1"])
        assert (await other.ask("GET", "a/manifests/1")).headers["Docker-Content-Digest"] == first
        second = await client.push_image("a", "1", [b"2"])
        assert (await other.ask("GET", "a/manifests/1")).headers["Docker-Content-Digest"] == second
        assert (await other.ask("DELETE", f"a/manifests/{second}")).status == 202
        assert (await client.ask("GET", "a/manifests/1")).status == 404
        assert (await client.ask("GET", f"a/manifests/{second}")).status == 404
        assert (await client.ask("GET", f"a/blobs/{digest_of(b'2')}")).status == 200
        assert (await other.ask("DELETE", f"a/blobs/{digest_of(b'2')}")).status == 202
        assert (await client.ask("GET", f"a/blobs/{digest_of(b'2')}")).status == 404
