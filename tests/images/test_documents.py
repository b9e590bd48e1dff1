"""What a manifest may say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from argosy.images import documents
from argosy.images.documents import DOCKER_IMAGE, DOCKER_LIST, MOST_ENTRIES, OCI_ARTIFACT, OCI_IMAGE, OCI_INDEX, Kind, parse
from argosy.images.faults import Code, Fault
from tests.images.house import digest_of, image, index

LAYER = "application/vnd.oci.image.layer.v1.tar"


def entry(name: str, media_type: str = LAYER, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(name.encode()), "size": len(name), **more}


def read(document: Any, media_type: str = "") -> documents.Document:
    return parse(json.dumps(document).encode(), media_type)


def digests(*names: str) -> list[str]:
    return [digest_of(name.encode()) for name in names]


def test_an_image_refers_to_its_config_and_layers_each_once() -> None:
    found = read({"schemaVersion": 2, "config": entry("c"), "layers": [entry("1"), entry("2"), entry("1")]}, DOCKER_IMAGE)
    assert (found.kind, found.media_type) == (Kind.IMAGE, DOCKER_IMAGE)
    assert [str(digest) for digest in found.blobs] == digests("c", "1", "2")
    assert found.manifests == ()
    assert found.subject is None


def test_an_index_refers_to_manifests() -> None:
    found = read({"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": [entry("1", DOCKER_IMAGE), entry("2", DOCKER_IMAGE)]})
    assert (found.kind, found.blobs) == (Kind.INDEX, ())
    assert [str(digest) for digest in found.manifests] == digests("1", "2")


def test_the_index_of_buildkits_cache_refers_to_layers() -> None:
    cache = entry("c", "application/vnd.buildkit.cacheconfig.v0")
    found = read({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry("1"), cache]})
    assert (found.kind, found.manifests) == (Kind.INDEX, ())
    assert [str(digest) for digest in found.blobs] == digests("1", "c")


def test_an_artifact_refers_to_blobs() -> None:
    found = read({"mediaType": OCI_ARTIFACT, "artifactType": "x/y", "blobs": [entry("1")], "subject": entry("s")})
    assert [str(digest) for digest in found.blobs] == digests("1")
    assert (str(found.subject), found.artifact_type) == (digest_of(b"s"), "x/y")


@pytest.mark.parametrize(
    ("document", "artifact_type"),
    [
        (image(artifactType="a/b"), "a/b"),
        (image(), "application/vnd.oci.image.config.v1+json"),  # of an image without one, its config's type
        (image(artifactType=""), "application/vnd.oci.image.config.v1+json"),
        (index([], artifactType="a/b"), "a/b"),
        (index([]), ""),
    ],
)
def test_what_kind_of_artifact_a_manifest_is(document: Any, artifact_type: str) -> None:
    assert read(document).artifact_type == artifact_type


@pytest.mark.parametrize(
    ("media_type", "needed"),
    [
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", False),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", False),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", True),
        ("", True),
    ],
)
def test_layers_that_are_fetched_from_elsewhere_need_not_be_here(media_type: str, needed: bool) -> None:
    found = read({**image([]), "layers": [entry("far", media_type, urls=["https://example.com/far"])]})
    assert (digest_of(b"far") in {str(digest) for digest in found.blobs}) is needed


@pytest.mark.parametrize("layers", [[], None])
def test_an_image_may_have_no_layers(layers: Any) -> None:
    assert len(read({**image(), "layers": layers}).blobs) == 1


def test_fields_that_nobody_knows_are_left_alone() -> None:
    document = {**image(), "org.example.more": {"deep": [1, {"er": None}]}, "annotations": {"a": "b"}}
    assert read(document).annotations == {"a": "b"}


@pytest.mark.parametrize(
    ("content", "media_type", "why"),
    [
        (b"", OCI_IMAGE, "truncated"),
        (b"{", OCI_IMAGE, "truncated"),
        (b"[]", OCI_IMAGE, "Expected `object`"),
        (b"\xff\xfe", OCI_IMAGE, "malformed"),
        (b'{"schemaVersion": 2, "mediaType": "\xff"}', OCI_IMAGE, ""),
        (json.dumps({**image(), "schemaVersion": 1}).encode(), OCI_IMAGE, "schemaVersion"),
        (json.dumps({**image(), "schemaVersion": "2"}).encode(), OCI_IMAGE, "Expected `int`"),
        (json.dumps(image()).encode(), OCI_INDEX, "was sent as"),
        (json.dumps(image()).encode(), "application/json", "no media type of a manifest"),
        (json.dumps(image()).encode(), "text/html", "no media type of a manifest"),
        (
            json.dumps({"schemaVersion": 1}).encode(),
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            "no media type of a manifest",
        ),
        (json.dumps({"schemaVersion": 2, "layers": []}).encode(), OCI_IMAGE, "no config"),
        (json.dumps({**image(), "config": {}}).encode(), OCI_IMAGE, "missing required field"),
        (json.dumps({**image(), "config": entry("c", size=-1)}).encode(), OCI_IMAGE, "cannot be"),
        (json.dumps({**image(), "config": entry("c", size=2**70)}).encode(), OCI_IMAGE, ""),
        (json.dumps({**image(), "config": entry("c", "x" * 1000)}).encode(), OCI_IMAGE, "cannot be"),
        (json.dumps({**image(), "layers": [{**entry("1"), "digest": "sha256:../../etc"}]}).encode(), OCI_IMAGE, "no digest"),
        (json.dumps({**image(), "layers": {}}).encode(), OCI_IMAGE, "Expected `array | null`"),
        (json.dumps({**image(), "subject": {**entry("1"), "digest": "x"}}).encode(), OCI_IMAGE, "no digest"),
        (json.dumps({**image(), "annotations": {"a": 1}}).encode(), OCI_IMAGE, "Expected `str`"),
        (json.dumps({**image(), "manifests": []}).encode(), OCI_IMAGE, "manifests, which an image does not have"),
        (json.dumps({**index([]), "layers": []}).encode(), OCI_INDEX, "layers, which an index does not have"),
        (json.dumps({**index([]), "config": entry("c")}).encode(), OCI_INDEX, "config, which an index does not have"),
    ],
)
def test_what_is_no_manifest_is_refused_with_the_reason(content: bytes, media_type: str, why: str) -> None:
    with pytest.raises(Fault) as caught:
        parse(content, media_type)
    assert (caught.value.code, caught.value.status) == (Code.MANIFEST_INVALID, 400)
    assert why in str(caught.value)


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_deep_nesting_is_refused(opening: bytes, closing: bytes) -> None:
    depth = 500_000
    bomb = b'{"schemaVersion": 2, "x": ' + opening * depth + b"1" + closing * depth + b"}"
    with pytest.raises(Fault) as caught:
        parse(bomb, OCI_IMAGE)
    assert caught.value.code is Code.MANIFEST_INVALID


def test_as_many_entries_as_are_allowed_and_no_more() -> None:
    one = entry("1")
    assert len(read({**image(), "layers": [one] * MOST_ENTRIES}).blobs) == 2
    with pytest.raises(Fault, match="more than 10000 entries"):
        read({**image(), "layers": [one] * (MOST_ENTRIES + 1)})


def test_a_manifest_has_at_most_four_megabytes() -> None:
    filled = json.dumps(image(annotations={"a": ""})).encode()
    filled = filled.replace(b'"a": ""', b'"a": "' + b"x" * (documents.LARGEST - len(filled)) + b'"')
    assert len(filled) == documents.LARGEST
    assert parse(filled, OCI_IMAGE).kind is Kind.IMAGE
    with pytest.raises(Fault) as caught:
        parse(filled + b" ", OCI_IMAGE)
    assert caught.value.status == 413


LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=5
)


@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from(["schemaVersion", "mediaType", "config", "layers", "manifests", "blobs", "subject", "annotations", "artifactType"]),
        JSON,
    ),
    st.sampled_from(["", *documents.KINDS]),
)
def test_any_document_is_read_or_refused(document: Any, media_type: str) -> None:
    try:
        found = read(document, media_type)
    except Fault as fault:
        code = fault.code
    else:
        code = Code.MANIFEST_INVALID
        assert found.media_type in documents.KINDS
    assert code is Code.MANIFEST_INVALID
