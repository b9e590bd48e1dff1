"""The fake's images, and registries that several fakes share. Layers are not kept: an image is its configuration and its names."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import io
import json
import shlex
import tarfile
from collections.abc import AsyncIterable, Mapping, Sequence

from argosy.docker.base import Auth, Filters, Json, Tar, split_reference
from argosy.errors import Conflict, InvalidInput, NotFound, Refused, RuntimeFailed

Store = dict[str, "FakeImage"]


class FakeImage:
    def __init__(self, id: str, config: Json, created: float, size: int) -> None:
        self.id = id
        self.config = config
        self.created = created
        self.size = size
        self.tags: list[str] = []
        self.digests: list[str] = []

    @property
    def digest(self) -> str:
        return "sha256:" + hashlib.sha256(self.id.encode()).hexdigest()


class FakeRegistry:
    """A registry as engines see it, for fakes that share it: `FakeDocker(registries={"registry.test:5000": FakeRegistry()})`. With `auth`,
    only who knows it may push and pull."""

    def __init__(self, auth: Auth | None = None) -> None:
        self.auth = auth
        self.images: dict[str, FakeImage] = {}

    def admit(self, what: str, auth: Auth | None) -> None:
        if self.auth is not None and auth != self.auth:
            raise Refused(f"cannot {what}: no basic auth credentials", remedy="give the credentials that the registry wants")


async def whole(tar: Tar) -> bytes:
    """A tar's bytes, and that it is one: RuntimeFailed otherwise."""
    data = tar if isinstance(tar, bytes) else await _joined(tar)
    await asyncio.to_thread(_check, data)
    return data


def _check(data: bytes) -> None:
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            archive.next()
    except tarfile.TarError as error:
        raise RuntimeFailed(f"cannot read the tar: Error processing tar file: {error}") from None


async def _joined(pieces: AsyncIterable[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


def made(tar: bytes, changes: Sequence[str], now: float) -> FakeImage:
    """The image of `docker import`. The same tar with the same changes is another image each second, as its creation time differs."""
    config = changed(changes)
    text = json.dumps([hashlib.sha256(tar).hexdigest(), config, now])
    return FakeImage(f"sha256:{hashlib.sha256(text.encode()).hexdigest()}", config, now, len(tar))


def changed(changes: Sequence[str]) -> Json:
    """The configuration that Dockerfile lines make. InvalidInput for one that `docker import --change` does not take."""
    config: Json = {
        "Env": [],
        "Labels": {},
        "ExposedPorts": {},
        "Volumes": {},
        "Cmd": None,
        "Entrypoint": None,
        "User": "",
        "WorkingDir": "",
    }
    for line in changes:
        verb, _, rest = line.strip().partition(" ")
        match verb.upper():
            case "CMD" | "ENTRYPOINT":
                config[verb.capitalize()] = json.loads(rest) if rest.startswith("[") else ["/bin/sh", "-c", rest]
            case "ENV":
                config["Env"] += [word if "=" in word else rest.replace(" ", "=", 1) for word in shlex.split(rest)]
            case "LABEL":
                config["Labels"] |= dict(word.partition("=")[::2] for word in shlex.split(rest))
            case "EXPOSE":
                config["ExposedPorts"] |= {port if "/" in port else f"{port}/tcp": {} for port in rest.split()}
            case "VOLUME":
                config["Volumes"] |= {path: {} for path in (json.loads(rest) if rest.startswith("[") else rest.split())}
            case "USER":
                config["User"] = rest
            case "WORKDIR":
                config["WorkingDir"] = rest
            case "STOPSIGNAL":
                config["StopSignal"] = rest
            case _:
                raise InvalidInput(f"cannot import: {verb} is not a valid change command")
    return config


def full(name: str) -> str:
    """A name with its tag (`a` is `a:latest`); one with a digest as it is."""
    repository, tag = split_reference(name)
    return name if "@" in name else f"{repository}:{tag}"


def find(images: Store, name: str) -> FakeImage:
    """By name, digest, id, or unambiguous beginning of an id. NotFound otherwise."""
    wanted = full(name)
    for image in images.values():
        if wanted in image.tags or wanted in image.digests or name == image.id:
            return image
    short = name.removeprefix("sha256:")
    found = [image for image in images.values() if len(short) >= 4 and image.id.removeprefix("sha256:").startswith(short)]
    if len(found) != 1:
        raise NotFound(f"cannot find image {name}: No such image: {wanted}")
    return found[0]


def give(images: Store, image: FakeImage, name: str) -> None:
    """The name is the image's from now on."""
    for other in images.values():
        if name in other.tags:
            other.tags.remove(name)
    images[image.id] = image
    image.tags.append(name)


def take(images: Store, name: str, force: bool, users: Sequence[str]) -> tuple[FakeImage, bool]:
    """Removes the name, or by its id the whole image. (The image, whether it is gone.) Conflict if it is used, or has several names."""
    image = find(images, name)
    by_id = full(name) not in image.tags and full(name) not in image.digests
    last = by_id or len(image.tags) + (0 if image.tags else len(image.digests)) <= 1
    if by_id and len(image.tags) > 1 and not force:
        raise Conflict(f"cannot remove image {name}: image is referenced in multiple repositories (must be forced)")
    if last and users and not force:
        raise Conflict(f"cannot remove image {name}: container {users[0][:12]} is using its referenced image {image.id[7:19]}")
    if last:
        del images[image.id]
        image.tags.clear()
    elif full(name) in image.tags:
        image.tags.remove(full(name))
    return image, last


def matches(image: FakeImage, filters: Filters) -> bool:
    """Whether an image passes a list's filters."""
    for name, values in filters.items():
        match name:
            case "label":
                held = all(image.config["Labels"].get(key) in ((value,) if equals else image.config["Labels"].values())
                           for key, equals, value in (text.partition("=") for text in values))  # fmt: skip
            case "dangling":
                held = (not image.tags) == (values[0] in ("true", "1"))
            case _:
                held = any(value in (tag, split_reference(tag)[0]) for value in values for tag in image.tags)
        if not held:
            return False
    return True


def shown(image: FakeImage) -> Json:
    """As inspect shows it."""
    return {
        "Id": image.id, "RepoTags": list(image.tags), "RepoDigests": list(image.digests), "Created": stamp(image.created),
        "Size": image.size, "Config": image.config, "Os": "linux", "Architecture": "amd64",
    }  # fmt: skip


def listed(image: FakeImage) -> Json:
    """As the list shows it."""
    return {
        "Id": image.id, "RepoTags": list(image.tags), "RepoDigests": list(image.digests), "Created": int(image.created),
        "Size": image.size, "Labels": dict(image.config["Labels"]), "Containers": -1,
    }  # fmt: skip


def stamp(now: float) -> str:
    """A time as engines write it."""
    return datetime.datetime.fromtimestamp(now, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def packed(images: Sequence[FakeImage]) -> bytes:
    """What `docker save` writes: a manifest, and each image's configuration (and no layers)."""
    manifest = [{"Config": f"{image.id[7:]}.json", "RepoTags": image.tags, "Layers": []} for image in images]
    files: Mapping[str, object] = {
        "manifest.json": manifest,
        **{f"{image.id[7:]}.json": {"config": image.config, "created": image.created, "size": image.size} for image in images},
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            data = json.dumps(content).encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def unpacked(data: bytes) -> Sequence[tuple[FakeImage, Sequence[str]]]:
    """The images of a saved tar, with their names. RuntimeFailed if it is none."""
    found = []
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for one in json.loads(_content(tar, "manifest.json")):
                config = json.loads(_content(tar, one["Config"]))
                image = FakeImage(
                    f"sha256:{one['Config'].removesuffix('.json')}", config["config"], config["created"], config.get("size", 0)
                )
                found.append((image, one["RepoTags"] or []))
    except (tarfile.TarError, KeyError, ValueError, TypeError) as error:
        raise RuntimeFailed(f"cannot load images: {error}") from None
    return found


def _content(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    return file.read() if file is not None else b""
