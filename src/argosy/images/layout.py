"""Every key of an image store, named in one place. docs/images.md, "Layout in the store", tells what they promise.

blobs/<algorithm>/<aa>/<hex>                              BlobRecord: size and parts of a blob; created last, once its digest is verified
parts/<upload>/<part>                                     data, as it came; never moved, never changed
repositories/<name>/_blobs/<algorithm>/<hex>              empty: this repository may give out that blob
repositories/<name>/_manifests/<algorithm>/<hex>          a line with the media type, then the manifest byte for byte
repositories/<name>/_tags/<tag>                           the digest it stands for
repositories/<name>/_referrers/<algorithm>/<hex>/<algorithm>/<hex>    the descriptor of a manifest whose subject is the first digest
uploads/<upload>/<step>                                   UploadStep: what an upload holds so far; each step is created once
untagged/<name>/_manifests/<algorithm>/<hex>              a manifest that garbage collection has found unneeded
condemned/<algorithm>/<hex>                               a blob that garbage collection has found unreferenced
doomed/<algorithm>/<hex>                                  a blob or manifest that it is removing now
collecting/<number>                                       whoever collects garbage: the highest number does
collected                                                 written at the end of every collection
clocks/<token>                                            written and removed to learn what time the store has

A repository's name has no component that begins with an underscore, so the two cannot be mixed up.
"""

from __future__ import annotations

from argosy.images.names import Digest

BLOBS = "blobs/"
PARTS = "parts/"
REPOSITORIES = "repositories/"
UPLOADS = "uploads/"
UNTAGGED = "untagged/"
CONDEMNED = "condemned/"
DOOMED = "doomed/"
COLLECTING = "collecting/"
COLLECTED = "collected"
CLOCKS = "clocks/"


def blob(digest: Digest) -> str:
    return f"{BLOBS}{digest.algorithm}/{digest.hex[:2]}/{digest.hex}"


def parts(upload: str) -> str:
    """Prefix."""
    return f"{PARTS}{upload}/"


def part(upload: str, name: str) -> str:
    return f"{PARTS}{upload}/{name}"


def repository(name: str) -> str:
    """Prefix."""
    return f"{REPOSITORIES}{name}/"


def links(name: str) -> str:
    """Prefix."""
    return f"{REPOSITORIES}{name}/_blobs/"


def link(name: str, digest: Digest) -> str:
    return f"{REPOSITORIES}{name}/_blobs/{digest.algorithm}/{digest.hex}"


def manifests(name: str) -> str:
    """Prefix."""
    return f"{REPOSITORIES}{name}/_manifests/"


def manifest(name: str, digest: Digest) -> str:
    return f"{REPOSITORIES}{name}/_manifests/{digest.algorithm}/{digest.hex}"


def untagged(manifest_: str) -> str:
    """The mark of the manifest with that key."""
    return UNTAGGED + manifest_.removeprefix(REPOSITORIES)


def marked_manifest(untagged_: str) -> str:
    """The key of the manifest that the mark is for."""
    return REPOSITORIES + untagged_.removeprefix(UNTAGGED)


def repository_of(key: str) -> str:
    """The repository of the key of a manifest or a tag."""
    return key.removeprefix(REPOSITORIES).partition("/_")[0]


def tags(name: str) -> str:
    """Prefix."""
    return f"{REPOSITORIES}{name}/_tags/"


def tag(name: str, tag_: str) -> str:
    return f"{REPOSITORIES}{name}/_tags/{tag_}"


def referrers(name: str, subject: Digest) -> str:
    """Prefix."""
    return f"{REPOSITORIES}{name}/_referrers/{subject.algorithm}/{subject.hex}/"


def referrer(name: str, subject: Digest, digest: Digest) -> str:
    return f"{referrers(name, subject)}{digest.algorithm}/{digest.hex}"


def upload(upload_: str) -> str:
    """Prefix."""
    return f"{UPLOADS}{upload_}/"


def step(upload_: str, number: int) -> str:
    return f"{UPLOADS}{upload_}/{number:06d}"


def condemned(digest: Digest) -> str:
    return f"{CONDEMNED}{digest.algorithm}/{digest.hex}"


def doomed(digest: Digest) -> str:
    return f"{DOOMED}{digest.algorithm}/{digest.hex}"


def digest_of(key: str) -> Digest:
    """Of a key that ends with <algorithm>/<hex> or, as blobs do, <algorithm>/<aa>/<hex>."""
    pieces = key.rsplit("/", 3)
    algorithm = pieces[-3] if len(pieces[-2]) == 2 else pieces[-2]
    return Digest(algorithm, pieces[-1])


def collecting(number: int) -> str:
    return f"{COLLECTING}{number:09d}"


def collecting_number(key: str) -> int:
    return int(key.removeprefix(COLLECTING))


def clock(token: str) -> str:
    return f"{CLOCKS}{token}"


def is_link(key: str) -> bool:
    """Whether a key beneath REPOSITORIES is one of a repository's links to blobs."""
    return "/_blobs/" in key


def is_manifest(key: str) -> bool:
    return "/_manifests/" in key


def is_tag(key: str) -> bool:
    return "/_tags/" in key


def upload_of(key: str) -> str:
    """The id of the upload that a step or a part belongs to."""
    return key.split("/", 2)[1]


def step_number(key: str) -> int:
    return int(key.rpartition("/")[2])
