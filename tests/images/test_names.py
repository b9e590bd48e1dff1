"""Names that are taken, names that are not, and paths read from their end."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.images import layout, names
from argosy.images.faults import Code, Fault
from argosy.images.names import Digest
from argosy.images.target import Target, parse

SHA = "sha256:" + "0123456789abcdef" * 4
LONG_SHA = "sha512:" + "0123456789abcdef" * 8
UPLOAD = "01234567-89ab-cdef-0123-456789abcdef"

REPOSITORIES = ["a", "0", "library/debian", "a-b", "a--b", "a_b", "a__b", "a.b", "a/b/c/d/e", "manifests", "a/blobs/uploads", "x" * 255]
NO_REPOSITORIES = [
    "", "A", "a/B", "a___b", "a..b", "a._b", "-a", "a-", "_a", "a_", ".a", "a.", "a/", "/a", "a//b", "a/./b", "a/../b", "..", ".", "a b",
    "a\n", "a\0", "a%2fb", "a\\b", "ä", "a#1", "a:b", "a@b", "a/_blobs", "_catalog", "a/_tags/x", "x" * 256,
]  # fmt: skip
TAGS = ["a", "_", "A", "1.0", "latest", "a..b", "v1_2-3.4", "x" * 128]
NO_TAGS = ["", ".", "..", ".a", "-a", "a/b", "a b", "a\n", "a\0", "ä", "a#1", "x" * 129]
DIGESTS = [SHA, LONG_SHA]
NO_DIGESTS = [
    "", ":", "sha256:", "sha256", "0" * 64, "sha256:" + "0" * 63, "sha256:" + "0" * 65, "sha256:" + "A" * 64, "sha256:" + "g" * 64,
    "sha512:" + "0" * 64, "md5:" + "0" * 32, "SHA256:" + "0" * 64, SHA + "\n", "sha256:../" + "0" * 61,
    "sha256+b64:" + "0" * 64, "sha256:" + "٠" * 64,
]  # fmt: skip


@pytest.mark.parametrize("text", REPOSITORIES)
def test_what_the_specification_calls_a_name_is_one(text: str) -> None:
    assert names.repository(text) == text


@pytest.mark.parametrize("text", NO_REPOSITORIES)
def test_anything_else_is_no_name(text: str) -> None:
    with pytest.raises(Fault) as caught:
        names.repository(text)
    assert (caught.value.code, caught.value.status) == (Code.NAME_INVALID, 400)
    assert not names.is_repository(text)


@pytest.mark.parametrize("text", TAGS)
def test_tags_are_taken(text: str) -> None:
    assert names.tag(text) == text


@pytest.mark.parametrize("text", NO_TAGS)
def test_what_is_no_tag_is_refused(text: str) -> None:
    with pytest.raises(Fault) as caught:
        names.tag(text)
    assert caught.value.status == 400


@pytest.mark.parametrize("text", DIGESTS)
def test_digests_are_taken_and_told_as_they_were(text: str) -> None:
    assert str(names.digest(text)) == text


@pytest.mark.parametrize("text", NO_DIGESTS)
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(Fault) as caught:
        names.digest(text)
    assert (caught.value.code, caught.value.status) == (Code.DIGEST_INVALID, 400)


@given(st.text(max_size=300))
def test_no_text_makes_a_key_that_leaves_its_place(text: str) -> None:
    keys: list[Callable[[], str]] = [
        lambda: layout.tag(names.repository(text), "x"),
        lambda: layout.tag("a", names.tag(text)),
        lambda: layout.link("a", names.digest(text)),
        lambda: layout.part(names.upload(text), "0"),
    ]
    for key in keys:
        try:
            made = key()
        except Fault:
            continue
        assert all(piece not in ("", ".", "..") for piece in made.split("/"))
        assert made.startswith(("repositories/", "parts/"))
        assert made.isascii()


@pytest.mark.parametrize("hex_", ["ab" + "0" * 62, "ab" + "0" * 126])
def test_a_key_tells_its_digest(hex_: str) -> None:
    digest = Digest("sha256" if len(hex_) == 64 else "sha512", hex_)
    for key in (layout.blob(digest), layout.link("a/b", digest), layout.manifest("a/b", digest), layout.condemned(digest)):
        assert layout.digest_of(key) == digest
    assert layout.digest_of(layout.referrer("a", names.digest(SHA), digest)) == digest


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/v2/", Target("base")),
        ("/v2", Target("base")),
        ("/v2/_catalog", Target("catalog")),
        ("/v2/a/tags/list", Target("tags", "a")),
        ("/v2/a/b/c/tags/list", Target("tags", "a/b/c")),
        ("/v2/tags/list/tags/list", Target("tags", "tags/list")),
        ("/v2/a/manifests/latest", Target("manifest", "a", "latest")),
        (f"/v2/a/manifests/{SHA}", Target("manifest", "a", SHA)),
        ("/v2/a/manifests/manifests/manifests", Target("manifest", "a/manifests", "manifests")),
        (f"/v2/a/b/blobs/{LONG_SHA}", Target("blob", "a/b", LONG_SHA)),
        ("/v2/a/blobs/uploads/", Target("uploads", "a")),
        ("/v2/a/blobs/uploads", Target("uploads", "a")),
        (f"/v2/a/blobs/uploads/{UPLOAD}", Target("upload", "a", UPLOAD)),
        (f"/v2/a/blobs/uploads/blobs/uploads/{UPLOAD}", Target("upload", "a/blobs/uploads", UPLOAD)),
        (f"/v2/a/referrers/{SHA}", Target("referrers", "a", SHA)),
    ],
)
def test_a_path_is_read_from_its_end(path: str, target: Target) -> None:
    assert parse(path, {}) == target


@pytest.mark.parametrize(
    ("path", "code", "status"),
    [
        ("/v2/nothing", Code.UNSUPPORTED, 404),
        ("/v2/a/tags", Code.UNSUPPORTED, 404),
        ("/v2/tags/list", Code.UNSUPPORTED, 404),  # of no repository
        ("/v2x", Code.UNSUPPORTED, 404),
        ("/v2/a/manifests/", Code.MANIFEST_INVALID, 400),
        ("/v2/a/manifests/../../etc/passwd", Code.UNSUPPORTED, 404),
        ("/v2/a/manifests/..", Code.MANIFEST_INVALID, 400),
        ("/v2/../manifests/latest", Code.NAME_INVALID, 400),
        ("/v2/a/../../b/manifests/latest", Code.NAME_INVALID, 400),
        ("/v2/A/manifests/latest", Code.NAME_INVALID, 400),
        ("/v2//manifests/latest", Code.NAME_INVALID, 400),
        ("/v2/a/blobs/sha256:xyz", Code.DIGEST_INVALID, 400),
        ("/v2/a/blobs/latest", Code.DIGEST_INVALID, 400),
        ("/v2/a/referrers/latest", Code.DIGEST_INVALID, 400),
        ("/v2/a/blobs/uploads/..", Code.BLOB_UPLOAD_UNKNOWN, 404),
        ("/v2/a/blobs/uploads/1", Code.BLOB_UPLOAD_UNKNOWN, 404),
        (f"/v2/a/blobs/uploads/{UPLOAD}\n", Code.BLOB_UPLOAD_UNKNOWN, 404),
    ],
)
def test_a_path_that_names_nothing_is_refused_with_its_code(path: str, code: Code, status: int) -> None:
    with pytest.raises(Fault) as caught:
        parse(path, {})
    assert (caught.value.code, caught.value.status) == (code, status)


def test_where_a_mount_comes_from_is_a_name_as_well() -> None:
    assert parse("/v2/a/blobs/uploads/", {"mount": SHA, "from": "b/c"}).source == "b/c"
    assert parse("/v2/a/blobs/uploads/", {"mount": SHA}).source == ""
    assert parse("/v2/a/blobs/uploads/", {"from": "b"}).source == ""
    with pytest.raises(Fault) as caught:
        parse("/v2/a/blobs/uploads/", {"mount": SHA, "from": "../b"})
    assert caught.value.code is Code.NAME_INVALID
