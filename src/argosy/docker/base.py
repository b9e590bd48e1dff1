"""The contract of one Docker Engine: what a mind over many of them needs, in the engine's own words.

What goes in and comes out as `Json` is the Docker Engine API's (https://docs.docker.com/reference/api/engine/), from version 1.40 on:
the body of `create` is the body of POST /containers/create, and `container` answers what GET /containers/{id}/json does.
`tests/contracts/docker_contract.py` is this page as a test suite; the client (on real engines) and the fake pass it.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Literal, Protocol, Self

import msgspec

Json = dict[str, Any]

Filters = Mapping[str, Sequence[str]]
"""As the API takes them: `{"label": ["a=b"], "status": ["running"]}`. Values of one name are alternatives (of `label`: all must hold)."""

Tar = bytes | AsyncIterable[bytes]

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}\Z")
REFERENCE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.:/@-]{0,511}\Z")
MAX_OUTPUT = 1 << 20
"""Bytes of each stream that `execute` keeps; the rest is read and dropped."""


class Version(msgspec.Struct, frozen=True):
    """`api` is what is spoken with this engine; `engine_api` and `oldest_api` what it offers; `name` and `release` what it is."""

    release: str
    api: str
    engine_api: str
    oldest_api: str
    os: str
    arch: str
    name: str = ""


class Auth(msgspec.Struct, frozen=True):
    """Who asks a registry: a user with a password, or a token that the registry gave."""

    username: str = ""
    password: str = ""
    token: str = ""

    def __repr__(self) -> str:
        return f"Auth(username={self.username!r}, ...)"


class Progress(msgspec.Struct, frozen=True):
    """One step of a pull, push or import: of one layer (`id`), or of the whole (`id` is ""). Bytes; `total` 0: unknown."""

    id: str
    status: str
    current: int = 0
    total: int = 0


class Output(msgspec.Struct, frozen=True):
    """What a container wrote, in pieces as they came. A container with a terminal has one stream: stdout."""

    stream: Literal["stdout", "stderr"]
    data: bytes


class Executed(msgspec.Struct, frozen=True):
    """How a program ended that was run in a container. `code` as a shell counts it."""

    code: int
    stdout: bytes
    stderr: bytes


class Change(msgspec.Struct, frozen=True):
    """Something happened at the engine. `kind`: container image network volume daemon ...; `action`: create start die destroy pull connect
    ... (`exec_create: sh -c ...` and the like carry what they are about); `time` in nanoseconds, by the engine's clock."""

    kind: str
    action: str
    id: str
    attributes: Mapping[str, str]
    time: int


class Anew(msgspec.Struct, frozen=True):
    """From here on every change is told, but those before may have been missed: list anew."""

    reason: str


class DockerEngine(Protocol):
    """The contract. Every method may raise DockerUnavailable (the engine is away or does not answer in time: what was asked may or may not
    have happened), NotFound, Conflict (it exists already, is in use, or is in the wrong state), InvalidInput (the engine or this side
    refuses what was given), Refused (no permission, or a registry wants other credentials), RuntimeFailed (the engine failed) and
    Unsuitable (an engine whose API is too old). Containers are named by id, unambiguous prefix of it, or name; images by
    reference or id. None blocks the event loop; calls may run concurrently; a cancelled call leaves no connection behind."""

    async def version(self) -> Version: ...

    async def info(self) -> Json: ...

    # Containers

    async def containers(self, *, all: bool = False, filters: Filters | None = None) -> list[Json]:
        """The running ones, or all."""

    async def container(self, name: str) -> Json: ...

    async def create(self, config: Json, *, name: str = "", platform: str = "") -> str:
        """The new container's id. NotFound if the image is not at the engine, Conflict if the name is taken."""

    async def start(self, name: str) -> None:
        """One that runs is left alone. A program that cannot be started is InvalidInput or RuntimeFailed, as the engine sees it."""

    async def stop(self, name: str, *, grace: int | None = None) -> None:
        """Its stop signal, and SIGKILL after `grace` seconds (None: what the container says, or 10). Returns when it has ended; one that
        does not run is left alone."""

    async def kill(self, name: str, signal: str = "SIGKILL") -> None:
        """Sends a signal. Conflict if it does not run."""

    async def remove(self, name: str, *, force: bool = False, volumes: bool = False) -> None:
        """`force` kills it first, otherwise Conflict if it runs; `volumes`: its anonymous volumes, too."""

    async def wait(self, name: str) -> int:
        """Waits until it does not run (at once if it does not); its exit code."""

    def logs(
        self, name: str, *, follow: bool = False, last: int | None = None, since: int = 0
    ) -> AbstractAsyncContextManager[AsyncIterator[Output]]:
        """What it wrote: the last `last` lines (None: all) since a Unix time; with `follow` until it ends."""

    async def execute(
        self,
        name: str,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        environ: Mapping[str, str] | None = None,
        user: str = "",
        folder: str = "",
    ) -> Executed:
        """Runs a program in a running container to its end. Conflict if the container does not run. Cancelling stops listening, not the
        program: the API cannot. MAX_OUTPUT bytes of each stream are kept."""

    # Images

    async def images(self, *, filters: Filters | None = None) -> list[Json]: ...

    async def image(self, name: str) -> Json: ...

    async def pull(
        self, name: str, *, auth: Auth | None = None, platform: str = "", progress: Callable[[Progress], None] | None = None
    ) -> str:
        """The image's id. A name without tag or digest means `latest`. Cancelling ends the pull."""

    async def push(self, name: str, *, auth: Auth | None = None, progress: Callable[[Progress], None] | None = None) -> str:
        """The digest of what the registry has now. A name without tag means `latest`."""

    async def tag(self, name: str, new: str) -> None:
        """Gives an image another name; takes the name from the image that had it."""

    async def remove_image(self, name: str, *, force: bool = False) -> None:
        """Removes a name, and the image with its last one. Conflict if a container uses it."""

    async def import_image(self, tar: Tar, name: str, *, changes: Sequence[str] = ()) -> str:
        """A new image of one layer, the tar (also compressed); `changes` are Dockerfile lines (`CMD ["sh"]`, `ENV A=b`). Its id."""

    async def load(self, tar: Tar) -> Sequence[str]:
        """What `docker save` wrote; the names (ids of those without one) that were loaded. InvalidInput or RuntimeFailed for the rest."""

    def save(self, names: Sequence[str]) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """A tar that `load` takes."""

    # Networks and volumes

    async def networks(self, *, filters: Filters | None = None) -> list[Json]: ...

    async def network(self, name: str) -> Json: ...

    async def create_network(self, config: Json) -> str:
        """The new network's id. `config["Name"]` is there; Conflict if it is taken."""

    async def remove_network(self, name: str) -> None:
        """Refused or Conflict if containers are on it, or it is the engine's own."""

    async def connect(self, network: str, container: str, *, aliases: Sequence[str] = ()) -> None: ...

    async def disconnect(self, network: str, container: str, *, force: bool = False) -> None: ...

    async def volumes(self, *, filters: Filters | None = None) -> list[Json]: ...

    async def volume(self, name: str) -> Json: ...

    async def create_volume(self, config: Json) -> Json:
        """One that exists already is answered as it is."""

    async def remove_volume(self, name: str, *, force: bool = False) -> None:
        """Conflict if a container uses it. `force`: a missing one is no error."""

    # Changes

    def events(self, *, filters: Filters | None = None) -> AbstractAsyncContextManager[AsyncIterator[Change | Anew]]:
        """Changes as they happen, for ever: in order, none left out, none twice. The first item is Anew, as soon as the engine listens:
        list then. Another Anew comes whenever that cannot be promised over a gap: the engine was started anew, more happened while the
        connection was broken than the engine remembers, or the reader fell too far behind. It never raises DockerUnavailable: an engine
        that is away tells nothing, and the next item is what happened meanwhile, or Anew."""

    async def close(self) -> None:
        """Ends every stream and lets go of every connection. Idempotent."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


def bad_name(name: str) -> str:
    """The rule that a container's, network's or volume's name or id breaks, in words, or ""."""
    return "" if NAME.match(name) else f"{name!r} is no name: letters, digits, _ . and -, at most 255, the first a letter or digit"


def bad_reference(name: str) -> str:
    """The rule that an image's name breaks, in words, or "". (The engine knows more; this is what may stand in a URL.)"""
    if not REFERENCE.match(name) or "//" in name or any(part in (".", "..") for part in name.split("/")):
        return f"{name!r} is no image: [HOST[:PORT]/]NAME[:TAG][@DIGEST], or an id"
    return ""


def split_reference(name: str) -> tuple[str, str]:
    """(repository, tag or digest) of an image's name: `latest` where none is said."""
    repository, at, digest = name.partition("@")
    if at:
        return repository, digest
    head, slash, tail = repository.rpartition("/")
    last, _, tag = tail.partition(":")
    return f"{head}{slash}{last}", tag or "latest"
