"""Keep-alives of one member's leases, all on one stream: opening a stream for each costs several times what its answer does.

A member answers the requests of a stream in their order. A stream that has failed, or has left a request unanswered for too long, is
ended, so that a late answer is never taken for that to a newer request.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable
from typing import Any

import grpc
from aetcd import rpc

from argosy.store.wire import Message

Waiting = tuple[int, asyncio.Future[int]]


class Renewals:
    """`open_stream` opens a stream (LeaseKeepAlive). None stands before the first request."""

    def __init__(self, open_stream: Callable[[], Any]) -> None:
        self._open_stream = open_stream
        self._stream: _Stream | None = None
        self._closed = False

    async def renew(self, lease: int, timeout: float) -> int:
        """Return the lease's TTL in seconds, 0 if it has ended. Raises AioRpcError, also if there is no answer after `timeout` seconds."""
        stream = self._standing()
        try:
            async with asyncio.timeout(timeout):
                while True:
                    try:
                        return await stream.renew(lease)
                    except _Ended:  # by another caller, which says nothing about the member
                        stream = self._standing()
        except TimeoutError as error:
            stream.end()
            raise _failure(grpc.StatusCode.DEADLINE_EXCEEDED, f"no answer to a keep-alive within {timeout:g} s") from error

    def _standing(self) -> _Stream:
        if self._closed:
            raise _failure(grpc.StatusCode.UNAVAILABLE, "the store has been closed")
        if self._stream is None or self._stream.ended:
            self._stream = _Stream(self._open_stream())
        return self._stream

    def rest(self) -> None:
        """End the stream unless an answer is awaited on it: the member is not in use now."""
        if self._stream is not None and not self._stream.awaited:
            self._stream.end()

    async def close(self) -> None:
        """Idempotent. Requests that wait, and later ones, raise AioRpcError."""
        self._closed = True
        if self._stream is not None:
            self._stream.end()
            await asyncio.gather(self._stream.reading, return_exceptions=True)


class _Ended(Exception):
    """This side has ended the stream."""


class _Stream:
    """One stream, read by a task of its own."""

    def __init__(self, call: Any) -> None:
        self.ended = False
        self._call = call
        self._writing = asyncio.Lock()
        self._waiting: collections.deque[Waiting] = collections.deque()
        self.reading = asyncio.create_task(self._read(), name="lease keep-alives")

    @property
    def awaited(self) -> bool:
        return bool(self._waiting) or self._writing.locked()

    async def renew(self, lease: int) -> int:
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        async with self._writing:  # a stream takes one message at a time
            if self.ended:
                raise _Ended
            self._waiting.append((lease, answer))
            try:
                await self._call.write(rpc.LeaseKeepAliveRequest(ID=lease))
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                pass  # the stream has failed: its reader tells why
            except asyncio.CancelledError:
                if asked := asked_to_end():
                    answer.cancel()
                self.end()  # whether the request is on its way is not known, and so whom the next answer is for
                if asked:
                    raise
        return await answer

    def end(self) -> None:
        self._fail(_Ended())
        self._call.cancel()

    async def _read(self) -> None:
        error = _failure(grpc.StatusCode.UNAVAILABLE, "the member has ended the stream of keep-alives")
        try:
            while (response := await self._call.read()) is not grpc.aio.EOF:
                if not self._answer(response):
                    error = _failure(grpc.StatusCode.INTERNAL, f"an answer for lease {response.ID} came out of turn")
                    break
        except grpc.aio.AioRpcError as failure:
            error = failure
        except asyncio.CancelledError:  # gRPC's, for a call that this side has ended
            if asked_to_end():
                raise
        finally:
            self._fail(error)
            self._call.cancel()

    def _answer(self, response: Message) -> bool:
        """Whether the answer is for the request that was sent first."""
        if not self._waiting or self._waiting[0][0] != response.ID:
            return False
        _, answer = self._waiting.popleft()
        if not answer.done():
            answer.set_result(int(response.TTL))
        return True

    def _fail(self, error: Exception) -> None:
        self.ended = True
        while self._waiting:
            _, answer = self._waiting.popleft()
            if not answer.done():
                answer.set_exception(error)


def _failure(code: grpc.StatusCode, details: str) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details=details)


def asked_to_end() -> bool:
    """Whether this task is being cancelled, rather than the call it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
