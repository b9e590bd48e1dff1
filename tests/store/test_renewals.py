"""Keep-alives on one stream: who gets which answer, and what becomes of a stream that fails."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import grpc
import pytest
from aetcd import rpc

from argosy.store.renewals import Renewals
from tests.conftest import settle

LONG = 10.0
SHORT = 0.01


class Call:
    """A stream whose answers the test gives."""

    def __init__(self, *, echo: bool) -> None:
        self.echo = echo
        self.requests: list[int] = []
        self.cancelled = False
        self.free = asyncio.Event()
        self.free.set()
        self._answers: asyncio.Queue[Any] = asyncio.Queue()

    async def write(self, request: Any) -> None:
        if self.cancelled:
            raise asyncio.InvalidStateError("finished")
        await self.free.wait()
        self.requests.append(request.ID)
        if self.echo:
            self.answer(request.ID)

    def answer(self, lease: int) -> None:
        self._answers.put_nowait(rpc.LeaseKeepAliveResponse(ID=lease, TTL=lease + 100))

    def give(self, what: object) -> None:
        self._answers.put_nowait(what)

    async def read(self) -> Any:
        found = await self._answers.get()
        if isinstance(found, BaseException):
            raise found
        return found

    def cancel(self) -> None:
        if not self.cancelled:
            self.cancelled = True
            self._answers.put_nowait(asyncio.CancelledError())


class Calls:
    """Every stream that was opened. `echo`: each answers at once."""

    def __init__(self, *, echo: bool = False) -> None:
        self.echo = echo
        self.opened: list[Call] = []

    def open(self) -> Call:
        self.opened.append(Call(echo=self.echo))
        return self.opened[-1]

    async def heard(self, *requests: int) -> None:
        """Lets all tasks run; then the newest stream has these requests."""
        await settle()
        assert tuple(self.opened[-1].requests) == requests


def failure(code: grpc.StatusCode) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details="gone")


async def test_all_keep_alives_of_all_leases_take_one_stream() -> None:
    calls = Calls(echo=True)
    renewals = Renewals(calls.open)
    for _ in range(20):
        assert await asyncio.gather(*(renewals.renew(lease, LONG) for lease in (1, 2, 3))) == [101, 102, 103]
    assert len(calls.opened) == 1
    assert calls.opened[0].requests == [1, 2, 3] * 20
    await renewals.close()
    assert calls.opened[0].cancelled


async def test_an_answer_that_comes_too_late_is_not_taken_for_that_to_a_newer_request() -> None:
    calls = Calls()
    renewals = Renewals(calls.open)
    with pytest.raises(grpc.aio.AioRpcError, match="no answer to a keep-alive") as caught:
        await renewals.renew(1, SHORT)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    newer = asyncio.create_task(renewals.renew(1, LONG))
    await calls.heard(1)
    calls.opened[0].answer(1)
    await settle()
    assert len(calls.opened) == 2
    assert calls.opened[0].cancelled
    assert not newer.done()
    calls.opened[1].answer(1)
    assert await newer == 101
    await renewals.close()


async def test_another_lease_waits_on_when_one_has_waited_for_too_long() -> None:
    calls = Calls()
    renewals = Renewals(calls.open)
    patient = asyncio.create_task(renewals.renew(2, LONG))
    await calls.heard(2)
    with pytest.raises(grpc.aio.AioRpcError):
        await renewals.renew(1, SHORT)
    await calls.heard(2)
    assert len(calls.opened) == 2, "it is asked for again, on a stream of its own"
    calls.opened[1].answer(2)
    assert await patient == 102
    await renewals.close()


async def test_one_who_gives_up_takes_no_answer_from_the_others() -> None:
    calls = Calls()
    renewals = Renewals(calls.open)
    first, second = (asyncio.create_task(renewals.renew(lease, LONG)) for lease in (1, 2))
    await calls.heard(1, 2)
    first.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await first
    calls.opened[0].answer(1)
    calls.opened[0].answer(2)
    assert await second == 102
    assert len(calls.opened) == 1
    await renewals.close()


async def test_one_who_gives_up_while_sending_costs_the_others_a_new_stream_and_no_error() -> None:
    calls = Calls(echo=True)
    renewals = Renewals(calls.open)
    assert await renewals.renew(1, LONG) == 101
    calls.opened[0].free.clear()
    first, second = (asyncio.create_task(renewals.renew(lease, LONG)) for lease in (1, 2))
    await settle()
    first.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await first
    assert await second == 102
    assert [call.requests for call in calls.opened] == [[1], [2]]
    await renewals.close()


@pytest.mark.parametrize(
    ("said", "code", "why"),
    [
        (grpc.aio.EOF, grpc.StatusCode.UNAVAILABLE, "the member ends it"),
        (failure(grpc.StatusCode.UNAVAILABLE), grpc.StatusCode.UNAVAILABLE, "the connection breaks"),
        (rpc.LeaseKeepAliveResponse(ID=7, TTL=5), grpc.StatusCode.INTERNAL, "an answer for a lease that nobody asked for"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_stream_that_fails_tells_all_who_wait_and_the_next_request_opens_another(
    said: object, code: grpc.StatusCode, why: str
) -> None:
    calls = Calls()
    renewals = Renewals(calls.open)
    waiting = [asyncio.create_task(renewals.renew(lease, LONG)) for lease in (1, 2)]
    await calls.heard(1, 2)
    calls.opened[0].give(said)
    for error in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(error, grpc.aio.AioRpcError), why
        assert error.code() == code
    assert calls.opened[0].cancelled
    calls.echo = True
    assert await renewals.renew(1, LONG) == 101
    assert len(calls.opened) == 2
    await renewals.close()


async def test_a_stream_that_fails_while_nobody_waits_costs_nobody_an_error() -> None:
    calls = Calls(echo=True)
    renewals = Renewals(calls.open)
    assert await renewals.renew(1, LONG) == 101
    calls.opened[0].give(failure(grpc.StatusCode.UNAVAILABLE))
    await settle()
    assert calls.opened[0].cancelled
    assert await renewals.renew(1, LONG) == 101
    assert len(calls.opened) == 2
    await renewals.close()


async def test_a_member_that_is_left_loses_its_stream_once_nobody_waits_on_it() -> None:
    calls = Calls()
    renewals = Renewals(calls.open)
    renewals.rest()
    waiting = asyncio.create_task(renewals.renew(1, LONG))
    await calls.heard(1)
    renewals.rest()
    calls.opened[0].answer(1)
    assert await waiting == 101, "one that is waited on goes on"
    renewals.rest()
    assert calls.opened[0].cancelled
    await renewals.close()


async def test_once_closed_nobody_waits_any_more_and_no_stream_is_opened() -> None:
    calls = Calls()
    renewals = Renewals(calls.open)
    waiting = asyncio.create_task(renewals.renew(1, LONG))
    await calls.heard(1)
    await renewals.close()
    await renewals.close()
    for request in (waiting, renewals.renew(1, LONG)):
        with pytest.raises(grpc.aio.AioRpcError, match="closed"):
            await request
    assert len(calls.opened) == 1
