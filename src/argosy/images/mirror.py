"""A mirror of another registry: what is asked for and not here comes from there, and stays.

What has a digest never changes: once it is here, upstream is not asked again. Of everything else (tags, and lists of tags, repositories and
referrers) upstream's answer decides while it can be reached: what it refuses is refused, what it does not have is not there. A tag is
compared with upstream's each time (by a HEAD request, which Docker Hub does not count). While upstream is away, fails or has enough of us,
what is here is served, with a warning. Whatever many ask for at the same time is fetched once. A blob is sent to whoever asks first while
it is being stored; who comes later is served from the store.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Hashable, Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from argosy.errors import ArgosyError
from argosy.images import documents
from argosy.images.blobs import Blob
from argosy.images.faults import Fault
from argosy.images.filler import Flow, Found, Page
from argosy.images.manifests import Manifest
from argosy.images.names import Digest
from argosy.images.names import digest as parsed_digest
from argosy.images.registry import Registry
from argosy.images.upstream import Upstream, UpstreamAbsent, UpstreamAway, UpstreamRefuses, read_at_most

log = logging.getLogger(__name__)

T = TypeVar("T")

ACCEPT = ", ".join(documents.KINDS)
LARGEST_LIST = 16 * 1024 * 1024
PIECES_AHEAD = 32
"""Pieces that a client may be behind what comes from upstream."""

SLOW_SECONDS = 30.0
"""How long a client may hold up a fetch that others wait for; then it is hung up on, and comes back to what is stored."""


class Mirror:
    """A Filler. Use as a context manager: fetches go on when whoever asked first has gone, and end with it."""

    def __init__(self, registry: Registry, upstream: Upstream) -> None:
        self._registry = registry
        self._upstream = upstream
        self._running: dict[Hashable, asyncio.Task[Any]] = {}
        self._fetches: dict[tuple[str, Digest], Fetch] = {}

    async def __aenter__(self) -> Mirror:
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _once(self, key: Hashable, call: Callable[[], Awaitable[T]]) -> T:
        """The result of one call for all who ask while it runs."""
        task: asyncio.Task[T] | None = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.ensure_future(call())
            task.add_done_callback(lambda done: self._ended(key, done))
        return await asyncio.shield(task)

    def _ended(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        self._running.pop(key, None)
        if not task.cancelled():
            task.exception()  # whoever asked has it, or has gone

    # manifests

    async def manifest(self, repository: str, reference: str | Digest, known: Manifest | None) -> Found:
        try:
            return Found(await self._once((repository, reference), lambda: self._manifest(repository, reference, known)))
        except UpstreamAbsent as error:
            log.info("mirror: %s", error)
            if known is not None and isinstance(reference, str):
                await self._registry.manifests.untag(repository, reference)
            return Found(None)
        except UpstreamAway as error:
            if known is None:
                raise
            log.warning("mirror: %s; serving %s:%s as it was", error, repository, reference)
            return Found(known, f"{self._upstream.url} is away: this is the tag as the mirror saw it last")

    async def _manifest(self, repository: str, reference: str | Digest, known: Manifest | None) -> Manifest | None:
        path = f"manifests/{reference}"
        if known is not None:
            async with self._upstream.asked("HEAD", repository, path, {"Accept": ACCEPT}) as response:
                if response.headers.get("Docker-Content-Digest") == str(known.digest):
                    return known
        async with self._upstream.asked("GET", repository, path, {"Accept": ACCEPT}) as response:
            content = await read_at_most(response, documents.LARGEST)
            media_type = response.content_type
            told = response.headers.get("Docker-Content-Digest", "")
        digest = reference if isinstance(reference, Digest) else _digest(told)
        tags = () if isinstance(reference, Digest) else (reference,)
        try:
            pushed = await self._registry.manifests.put(repository, content, media_type, digest=digest, tags=tags, sparse=True)
        except Fault as fault:
            raise UpstreamAway(f"{self._upstream.url} sends for {repository} what cannot be served: {fault}") from fault
        return Manifest(pushed.digest, media_type, content)

    # lists

    async def page(self, path: str, scope: str, field: str, query: Mapping[str, str]) -> Page | None:
        asked = f"{path}?{urlencode(query)}" if query else path
        try:
            async with self._upstream.answered("GET", asked, scope, {}) as response:
                content = await read_at_most(response, LARGEST_LIST)
                following = parse_next(response.headers.get("Link", ""))
        except UpstreamAway as error:
            log.warning("mirror: %s; answering %s from what is here", error, path)
            return None
        return Page(_entries(content, field), following)

    def warning(self) -> str:
        return f"{self._upstream.url} is away: this is what the mirror has, and may be a part only"

    # blobs

    async def size(self, repository: str, digest: Digest) -> int | None:
        try:
            async with self._upstream.asked("HEAD", repository, f"blobs/{digest}") as response:
                return response.content_length
        except UpstreamAbsent:
            return None

    async def blob(self, repository: str, digest: Digest) -> Blob | None:
        fetch = self._fetch(repository, digest)
        if not await fetch.finished():
            return None
        return await self._registry.blobs.find(repository, digest)

    async def flow(self, repository: str, digest: Digest) -> Blob | Flow | None:
        fetch = self._fetch(repository, digest)
        reader = fetch.join()
        if reader is None:
            return await self.blob(repository, digest)
        if await fetch.begun():
            return reader
        await reader.aclose()
        return await self.blob(repository, digest)

    def _fetch(self, repository: str, digest: Digest) -> Fetch:
        key = (repository, digest)
        fetch = self._fetches.get(key)
        if fetch is None:
            fetch = self._fetches[key] = Fetch(self._registry, self._upstream, repository, digest)
            task = self._running[key, "fetch"] = asyncio.create_task(self._fetched(key, fetch))
            task.add_done_callback(lambda done: self._ended((key, "fetch"), done))
        return fetch

    async def _fetched(self, key: tuple[str, Digest], fetch: Fetch) -> None:
        try:
            await fetch.run()
        finally:
            del self._fetches[key]


class Fetch:
    """One blob on its way from upstream into the store, and to those who joined before its first byte."""

    def __init__(self, registry: Registry, upstream: Upstream, repository: str, digest: Digest) -> None:
        self._registry = registry
        self._upstream = upstream
        self._repository = repository
        self._digest = digest
        self._readers: list[Reader] = []
        self._flowing = False
        self._size: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._end: asyncio.Future[ArgosyError | None] = asyncio.get_running_loop().create_future()

    def join(self) -> Reader | None:
        """None: its first bytes have gone by."""
        if self._flowing:
            return None
        reader = Reader(self)
        self._readers.append(reader)
        return reader

    def leave(self, reader: Reader) -> None:
        if reader in self._readers:
            self._readers.remove(reader)

    async def begun(self) -> bool:
        """Upstream has said how long it is. False: it has not, or there is none."""
        return await asyncio.shield(self._size) is not None

    @property
    def size(self) -> int:
        return self._size.result() or 0

    async def finished(self) -> bool:
        """It is in the store. False: upstream has none. Raises what went wrong."""
        error = await asyncio.shield(self._end)
        if error is None:
            return True
        if isinstance(error, UpstreamAbsent):
            return False
        raise error

    async def run(self) -> None:
        error: ArgosyError | None = UpstreamAway("the mirror is stopping")
        try:
            async with self._upstream.asked("GET", self._repository, f"blobs/{self._digest}") as response:
                length = response.content_length
                self._size.set_result(length)
                content = self._shared(response.content.iter_any())
                await self._registry.uploads.put(self._repository, self._digest, content, size=length)
            error = None
        except Fault as fault:
            error = UpstreamAway(f"{self._upstream.url} sends other bytes than {self._digest}: {fault.message}")
        except ArgosyError as raised:
            error = raised
        finally:
            if error is not None:
                log.log(logging.INFO if isinstance(error, UpstreamRefuses | UpstreamAbsent) else logging.WARNING, "mirror: %s", error)
            if not self._size.done():
                self._size.set_result(None)
            self._end.set_result(error)
            self._flowing = True
            for reader in self._readers:
                reader.end(error)

    async def _shared(self, content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for piece in content:
            self._flowing = True
            for reader in list(self._readers):
                if not await reader.take(piece):
                    self.leave(reader)
            yield piece


class Reader:
    """What one client is sent of a Fetch."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._waiting: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(PIECES_AHEAD)
        self._error: ArgosyError | None = None

    @property
    def size(self) -> int:
        return self._fetch.size

    async def take(self, piece: bytes) -> bool:
        """False: the client is too slow."""
        try:
            async with asyncio.timeout(SLOW_SECONDS):
                await self._room.acquire()
        except TimeoutError:
            self.end(UpstreamAway("the client takes too long"))
            return False
        self._waiting.put_nowait(piece)
        return True

    def end(self, error: ArgosyError | None) -> None:
        self._error = error
        self._waiting.put_nowait(None)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        try:
            while (piece := await self._waiting.get()) is not None:
                self._room.release()
                yield piece
            if self._error is not None:
                raise self._error
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        self._fetch.leave(self)
        self._room.release()  # a piece that waits for this reader waits no longer


_NEXT = re.compile(r'<([^>]*)>\s*;\s*rel="?next"?')


def parse_next(link: str) -> dict[str, str]:
    """The query of the page that a Link header calls the next; {} if there is none."""
    found = _NEXT.search(link[:8192])
    return dict(parse_qsl(urlsplit(found[1]).query)) if found else {}


def _entries(content: bytes, field: str) -> list[Any]:
    """Raises UpstreamAway for what is no list of the API."""
    try:
        entries = msgspec.json.decode(content)[field]
    except (msgspec.DecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise UpstreamAway(f"upstream sends a list without {field}") from error
    return entries if isinstance(entries, list) else []


def _digest(text: str) -> Digest | None:
    """What upstream says a tag stands for; None if it says nothing of use, and the digest is then that of what it sends."""
    try:
        return parsed_digest(text)
    except Fault:
        return None
