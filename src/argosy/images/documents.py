"""What a manifest says: parsed with every limit checked, and touched by nothing else.

Known are OCI image manifests and indexes, Docker's schema 2 manifests and lists, and the artifact manifest of OCI's release candidates.
Schema 1 is not taken: nothing pushes it any more.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from argosy.images import names
from argosy.images.faults import Code, Fault
from argosy.images.names import Digest

LARGEST = 4 * 1024 * 1024
"""Bytes of a manifest, as the specification asks for."""

MOST_ENTRIES = 10_000
"""Descriptors in one manifest."""

LONGEST_TYPE = 255
LARGEST_SIZE = 1 << 63


class Kind(StrEnum):
    IMAGE = "image"
    INDEX = "index"
    ARTIFACT = "artifact"


OCI_IMAGE = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
DOCKER_IMAGE = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"

KINDS = {
    OCI_IMAGE: Kind.IMAGE,
    DOCKER_IMAGE: Kind.IMAGE,
    OCI_INDEX: Kind.INDEX,
    DOCKER_LIST: Kind.INDEX,
    OCI_ARTIFACT: Kind.ARTIFACT,
}

ELSEWHERE = (
    "application/vnd.oci.image.layer.nondistributable.v1.",
    "application/vnd.docker.image.rootfs.foreign.diff.",
)
"""Layers of these types are fetched from where their descriptors say, and need not be here."""


class _Descriptor(msgspec.Struct):
    digest: str
    size: int
    media_type: str = msgspec.field(name="mediaType", default="")


class _Raw(msgspec.Struct, rename="camel"):
    """The fields of all kinds; those that a kind must not have are refused, so that no reader takes one document for two things."""

    schema_version: int = 0
    media_type: str = ""
    artifact_type: str | None = None
    config: _Descriptor | None = None
    layers: list[_Descriptor] | None = None
    manifests: list[_Descriptor] | None = None
    blobs: list[_Descriptor] | None = None
    subject: _Descriptor | None = None
    annotations: dict[str, str] | None = None


class Document(msgspec.Struct, frozen=True):
    """`blobs` and `manifests` are what must be in the repository before it, each once. `artifact_type` is as the referrers API shows it
    ("": none)."""

    media_type: str
    kind: Kind
    blobs: tuple[Digest, ...]
    manifests: tuple[Digest, ...]
    subject: Digest | None
    artifact_type: str
    annotations: dict[str, str]


class Descriptor(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A manifest as the referrers API lists it."""

    media_type: str
    digest: str
    size: int
    artifact_type: str = ""
    annotations: dict[str, str] = {}


_decoder = msgspec.json.Decoder(_Raw)


def parse(content: bytes, media_type: str) -> Document:
    """`media_type` is what the client calls it ("": the document says). Raises Fault MANIFEST_INVALID."""
    if len(content) > LARGEST:
        raise _invalid(f"it has {len(content)} bytes; at most {LARGEST} are taken", status=413)
    try:
        raw = _decoder.decode(content)
    except RecursionError:
        raise _invalid("it is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _invalid(str(error)) from None
    kind = KINDS.get(media_type or raw.media_type)
    if kind is None:
        raise _invalid(f"{(media_type or raw.media_type)[:LONGEST_TYPE]!r} is no media type of a manifest that is taken here")
    if media_type and raw.media_type and raw.media_type != media_type:
        raise _invalid(f"it calls itself {raw.media_type[:LONGEST_TYPE]!r} and was sent as {media_type!r}")
    _check_fields(raw, kind)
    return _document(raw, kind, media_type or raw.media_type)


def _check_fields(raw: _Raw, kind: Kind) -> None:
    if kind is not Kind.ARTIFACT and raw.schema_version != 2:
        raise _invalid("its schemaVersion is not 2")
    present = {"config": raw.config, "layers": raw.layers, "manifests": raw.manifests, "blobs": raw.blobs}
    allowed = {Kind.IMAGE: {"config", "layers"}, Kind.INDEX: {"manifests"}, Kind.ARTIFACT: {"blobs"}}[kind]
    for name, value in present.items():
        if value is not None and name not in allowed:
            raise _invalid(f"it has the field {name}, which an {kind} does not have")
    if kind is Kind.IMAGE and raw.config is None:
        raise _invalid("it has no config")
    if sum(len(value) for value in (raw.layers, raw.manifests, raw.blobs) if value) > MOST_ENTRIES:
        raise _invalid(f"it has more than {MOST_ENTRIES} entries")


def _document(raw: _Raw, kind: Kind, media_type: str) -> Document:
    manifests = [one for one in raw.manifests or () if not one.media_type or one.media_type in KINDS]
    plain = [one for one in raw.manifests or () if one.media_type and one.media_type not in KINDS]  # BuildKit's cache
    blobs = [*([raw.config] if raw.config is not None else []), *(raw.layers or []), *(raw.blobs or []), *plain]
    artifact_type = raw.artifact_type or (raw.config.media_type if raw.config is not None else "")
    return Document(
        media_type,
        kind,
        tuple(dict.fromkeys(_digest(one) for one in blobs if not one.media_type.startswith(ELSEWHERE))),
        tuple(dict.fromkeys(_digest(one) for one in manifests)),
        None if raw.subject is None else _digest(raw.subject),
        artifact_type,
        raw.annotations or {},
    )


def _digest(descriptor: _Descriptor) -> Digest:
    if not 0 <= descriptor.size < LARGEST_SIZE or len(descriptor.media_type) > LONGEST_TYPE:
        raise _invalid(f"the descriptor of {descriptor.digest[:160]!r} has a size or media type that cannot be")
    try:
        return names.digest(descriptor.digest)
    except Fault as fault:
        raise _invalid(str(fault)) from None


def descriptor(document: Document, digest: Digest, size: int) -> Descriptor:
    """How the referrers API lists this manifest."""
    return Descriptor(document.media_type, str(digest), size, document.artifact_type, document.annotations)


def descriptors(entries: object) -> list[Descriptor]:
    """Those of another registry's list of referrers; what is none is left out."""
    found = []
    for entry in entries if isinstance(entries, list) else []:
        try:
            found.append(msgspec.convert(entry, Descriptor))
        except msgspec.ValidationError:
            continue
    return found


def _invalid(why: str, status: int = 0) -> Fault:
    return Fault(Code.MANIFEST_INVALID, f"the manifest is not valid: {why}", status=status)
