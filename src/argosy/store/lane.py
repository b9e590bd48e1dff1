"""Where work on one database is done: in the order it came, several pieces in one transaction, off the event loop.

A private database in memory has nothing to wait for: its work is done in place, so that tests with a fake clock are exact.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from argosy.errors import StoreUnavailable
from argosy.store.database import Database
from argosy.store.tables import Tables

T = TypeVar("T")

MAX_BATCH = 256
"""Pieces of work that share one transaction at most."""


class Lane(Protocol):
    async def run(self, work: Callable[[Tables], T], *, durable: bool = True) -> T:
        """The work's result or exception, once it is committed. Raises StoreUnavailable."""

    async def close(self) -> None:
        """Work that has not begun raises StoreUnavailable. Idempotent."""


class Inline:
    """Does the work in place, after letting other tasks run once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._closed = False

    async def run(self, work: Callable[[Tables], T], *, durable: bool = True) -> T:
        await asyncio.sleep(0)
        if self._closed:
            raise _closed()
        result: T | BaseException = self._in_memory(work)
        if isinstance(result, BaseException):
            raise result
        return result

    def _in_memory(self, work: Callable[[Tables], Any]) -> Any:
        return self._database.apply((work,), durable=False)[0]

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._database.close()


def _closed() -> StoreUnavailable:
    return StoreUnavailable("the store has been closed")


class _Job(msgspec.Struct, frozen=True):
    work: Callable[[Tables], Any]
    done: asyncio.Future[Any]
    durable: bool


class Threaded:
    """Does the work in a thread of its own. What came while the last transaction was written is written in the next one, together."""

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._name = name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    async def run(self, work: Callable[[Tables], T], *, durable: bool = True) -> T:
        if self._closed:
            raise _closed()
        if self._thread is None:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
            self._thread.start()
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put(_Job(work, done, durable))
        return await done

    async def close(self) -> None:
        self._closed = True
        if self._thread is not None:
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None

    def _serve(self) -> None:
        ending = False
        while not ending:
            first = self._jobs.get()
            jobs: list[_Job] = []
            while first is not None:
                jobs.append(first)
                if len(jobs) == MAX_BATCH:
                    break
                try:
                    first = self._jobs.get_nowait()
                except queue.Empty:
                    break
            ending = first is None
            if jobs:
                self._answer(jobs, self._results(jobs))
        self._database.close()

    def _results(self, jobs: Sequence[_Job]) -> Sequence[Any]:
        try:
            return self._database.apply([job.work for job in jobs], durable=any(job.durable for job in jobs))
        except StoreUnavailable as error:
            return [type(error)(error.message, remedy=error.remedy) for _ in jobs]
        except Exception as error:
            return [error] * len(jobs)

    def _answer(self, jobs: Sequence[_Job], results: Sequence[Any]) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
            self._loop.call_soon_threadsafe(_deliver, jobs, results)


def _deliver(jobs: Sequence[_Job], results: Sequence[Any]) -> None:
    for job, result in zip(jobs, results, strict=True):
        if job.done.done():
            continue
        if isinstance(result, BaseException):
            job.done.set_exception(result)
        else:
            job.done.set_result(result)
