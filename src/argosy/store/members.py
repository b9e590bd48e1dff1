"""Speaking to the members of an etcd cluster: one channel each, one of them in use, the next one when it fails."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import grpc
import msgspec
from aetcd import rpc
from aetcd.rpc import KVStub, LeaseStub, WatchStub

from argosy.errors import InvalidInput, StoreUnavailable
from argosy.reconcile import Clock
from argosy.store.base import Record
from argosy.store.history import GONE_BACK, History
from argosy.store.renewals import Renewals, asked_to_end
from argosy.store.wire import Message

log = logging.getLogger(__name__)

T = TypeVar("T")

SERVER_NAME = "etcd.argosy"
"""The DNS name that every member's certificate carries."""

PATIENCE = 3.0
"""Seconds that one call may take with all its attempts, unless the store is told another number."""

CONNECT = 1.0
ANSWER = 1.0
"""Seconds to wait for a member's connection, and for its answer, before turning to another."""

ROUND_PAUSE = 0.1
"""Seconds to wait when every member has failed, before asking the first again."""

LEADER = (("hasleader", "true"),)
"""Asks a member to refuse when it has no leader, and to end watches when it loses it (etcd's "require leader")."""

NO_LEADER = "etcdserver: no leader"

_TRANSPORT = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
}
"""What may go better with another member. Everything else is an answer."""

_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", -1),  # pages are kept small by asking for few; one batch of events may be large
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 6_000),  # members refuse pings that come more often than every 5 s
    ("grpc.keepalive_timeout_ms", 2_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


class EtcdTls(msgspec.Struct, frozen=True):
    """PEM: the authority that signed the members' certificates, and this client's certificate and key."""

    ca: bytes
    cert: bytes
    key: bytes


class Member:
    """One member: its stubs, the stream of its keep-alives, and the calls that wait for it for long: watches and pages of listings.
    `cluster` is the id of its cluster, `checked`: since it was last left, it has been seen to have the history that is known."""

    def __init__(self, endpoint: str, channel: grpc.aio.Channel) -> None:
        self.endpoint = endpoint
        self.channel = channel
        self.kv: Any = KVStub(channel)
        self.lease: Any = LeaseStub(channel)
        self.watch: Any = WatchStub(channel)
        self.maintenance: Any = rpc.MaintenanceStub(channel)
        self.renewals = Renewals(lambda: self.lease.LeaseKeepAlive(metadata=LEADER))
        self.waiting: set[grpc.aio.Call] = set()
        self.answered = 0.0
        self.cluster = 0
        self.checked = False
        self.checking = asyncio.Lock()

    @property
    def ready(self) -> bool:
        """A connection stands, as far as this side knows."""
        return bool(self.channel.get_state() == grpc.ChannelConnectivity.READY)

    async def connected(self, timeout: float) -> bool:
        """Whether a connection stands, or does within `timeout` seconds. One that is refused is not waited for."""
        state = self.channel.get_state(try_to_connect=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while state not in (grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.TRANSIENT_FAILURE):
                    await self.channel.wait_for_state_change(state)
                    state = self.channel.get_state(try_to_connect=True)
        return state == grpc.ChannelConnectivity.READY


class Members:
    """All of them. `current` is asked by every call and watch; `leave` turns to the next one and takes what waits along. `gone_back` is
    told when their history is found to be another than `history`, which by then is the new one."""

    def __init__(
        self,
        endpoints: Sequence[str],
        clock: Clock,
        tls: EtcdTls | None,
        patience: float,
        history: History,
        gone_back: Callable[[], None],
    ) -> None:
        if not endpoints:
            raise InvalidInput("no etcd endpoints are given", remedy="name at least one HOST:PORT")
        self._endpoints = tuple(endpoints)
        self._clock = clock
        self._tls = tls
        self._patience = patience
        self._history = history
        self._gone_back = gone_back
        self._members: dict[str, Member] = {}
        self._at = 0
        self.closed = False

    @property
    def current(self) -> Member:
        return self._member(self._endpoints[self._at])

    def every(self) -> Sequence[Member]:
        """All of them, in the order in which they were given."""
        return [self._member(endpoint) for endpoint in self._endpoints]

    def _member(self, endpoint: str) -> Member:
        member = self._members.get(endpoint)
        if member is None:
            member = self._members[endpoint] = Member(endpoint, self._channel(endpoint))
        return member

    def leave(self, member: Member, why: str) -> None:
        """Somebody found this member failing: the next call asks another, and what waits for it goes there too. One to which a connection
        stands comes first: while etcd elects a leader every member fails, and turning to a dead one then costs a second more."""
        member.checked = False
        if member.endpoint == self._endpoints[self._at]:
            count = len(self._endpoints)
            others = [(self._at + step) % count for step in range(1, count)] or [self._at]
            self._at = next((at for at in others if self._is_ready(at)), others[0])
            log.info("etcd member %s: %s; turning to %s", member.endpoint, why, self._endpoints[self._at])
        for call in tuple(member.waiting):
            call.cancel()
        member.renewals.rest()

    def _is_ready(self, at: int) -> bool:
        member = self._members.get(self._endpoints[at])
        return member is not None and member.ready

    async def call(self, ask: Callable[[Member, float], Awaitable[T]], *, repeat: bool, answer: float = ANSWER) -> T:
        """`ask(member, timeout)` of one member after the other until one answers; what is no fault of the transport is raised as it comes.

        Without `repeat`, it is asked again only if it certainly did not happen. Raises StoreUnavailable.
        """
        deadline = self._clock.monotonic() + self._patience
        failed = 0
        while True:
            if self.closed:
                raise StoreUnavailable("the store has been closed")
            member = self.current
            left = deadline - self._clock.monotonic()
            try:
                if not (member.checked and member.ready) and (why := await self._unfit(member, left)):
                    again = True
                else:
                    number, floor = self._history.number, self._history.revision
                    found = await ask(member, min(answer, max(left, 0.05)))
                    member.answered = self._clock.monotonic()
                    if self._is_of(found, number, floor) or not (why := await self.check(member, anew=True)):
                        return found
                    again = repeat
            except grpc.aio.AioRpcError as error:
                if error.code() not in _TRANSPORT:
                    raise
                again, why = repeat or error.details() == NO_LEADER, f"{error.details()} [{error.code().name}]"
            except asyncio.CancelledError:
                if asked_to_end():
                    raise
                again, why = repeat or self.closed, "was left while it was asked"
            self.leave(member, why)
            failed += 1
            if not again or self._clock.monotonic() >= deadline:
                raise StoreUnavailable(f"etcd ({', '.join(self._endpoints)}) does not answer; last, {member.endpoint}: {why}")
            if failed % len(self._endpoints) == 0:
                await self._clock.sleep(ROUND_PAUSE)

    async def _unfit(self, member: Member, left: float) -> str:
        """Why this member cannot be asked within `left` seconds, or must not be; "" if it may. Raises AioRpcError."""
        if not await member.connected(min(CONNECT, left)):
            return await self._why_not(member) or "cannot be reached"
        return await self.check(member)

    async def check(self, member: Member, *, anew: bool = False) -> str:
        """Why this member must not be asked, "" if it may: looks, once for each connection (or `anew`), whether it has the history that is
        known. Raises AioRpcError."""
        async with member.checking:
            if member.checked and not anew:
                return ""
            if not anew and member is not self.current:
                return "was left while it was looked at"  # by the one who looked first: nobody looks at it in vain after that
            floor, witness = self._history.revision, self._history.witness
            response = await _look(member, witness.key if witness else "\0")
            header, before = response.header, member.cluster
            member.cluster = header.cluster_id
            if self._history.cluster not in (0, member.cluster):
                why = f"it belongs to cluster {member.cluster:x}, not to {self._history.cluster:x}"
                if 2 * sum(other.cluster == member.cluster for other in self._members.values()) <= len(self._endpoints):
                    if before != member.cluster:
                        log.error("etcd member %s is not asked: %s (unless most of its members do)", member.endpoint, why)
                    return why
            else:
                why = await _contradiction(member, response, floor, witness)
            member.checked = True
            if why:
                self._history.begin(header.cluster_id, header.revision)
                log.error("%s: etcd member %s: %s; everything is read anew", GONE_BACK, member.endpoint, why)
                self._gone_back()
            self._history.cluster = header.cluster_id
            self._history.moved(header.revision)
            return ""

    def _is_of(self, answer: Any, number: int, floor: int) -> bool:
        """Whether an answer is of the history that was known when it was asked for: `number`, at revision `floor`. What has no header says
        nothing about it."""
        header = getattr(answer, "header", None)
        if header is None or number != self._history.number:
            return True
        if header.cluster_id != self._history.cluster or header.revision < floor:
            return False
        self._history.moved(header.revision)
        return True

    async def probe(self) -> None:
        """Turns to another member unless the current one has answered lately, or answers now. Raises StoreUnavailable."""
        if self._clock.monotonic() - self.current.answered >= ANSWER:
            await self.call(_ask_anything, repeat=True)

    async def close(self) -> None:
        self.closed = True
        for member in self._members.values():
            await member.renewals.close()
            await member.channel.close()

    async def _why_not(self, member: Member) -> str:
        """What keeps the connection from standing, in gRPC's words."""
        try:
            await _ask_anything(member, 0.05)
        except grpc.aio.AioRpcError as error:
            return f"{error.details()}"
        return "connects slowly"

    def _channel(self, endpoint: str) -> grpc.aio.Channel:
        _keep_poller()
        if self._tls is None:
            return grpc.aio.insecure_channel(endpoint, options=_OPTIONS)
        credentials = grpc.ssl_channel_credentials(self._tls.ca, self._tls.key, self._tls.cert)  # type: ignore[no-untyped-call]
        return grpc.aio.secure_channel(endpoint, credentials, options=(*_OPTIONS, ("grpc.ssl_target_name_override", SERVER_NAME)))


@functools.cache
def _keep_poller() -> None:
    """gRPC's poller thread stays to the end of the process. Otherwise it is waited for, blocking, wherever the last channel happens to be
    collected."""
    grpc.aio.init_grpc_aio()


async def _ask_anything(member: Member, timeout: float) -> None:
    await member.kv.Range(rpc.RangeRequest(key=b"\0", keys_only=True, serializable=True), timeout=timeout, metadata=LEADER)


async def _look(member: Member, key: str, revision: int = 0) -> Message:
    """The key as it stands, or stood at `revision`, with a header as of now or later: what was acknowledged to anybody is in it."""
    return await member.kv.Range(rpc.RangeRequest(key=key.encode(), revision=revision), timeout=ANSWER, metadata=LEADER)


async def _contradiction(member: Member, response: Message, floor: int, witness: Record | None) -> str:
    """What shows that a member has another history than one that was at `floor` and had `witness`; "" if nothing does. `response` is the
    member's on the witness's key. Where the witness's time is compacted away, only the revision is left to go by."""
    if response.header.revision < floor:
        return f"it is at revision {response.header.revision}, after {floor}"
    if witness is None:
        return ""
    pairs = response.kvs
    if not pairs or pairs[0].mod_revision > witness.modified:
        try:
            pairs = (await _look(member, witness.key, witness.modified)).kvs
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.OUT_OF_RANGE:
                return ""
            raise
    if pairs and (pairs[0].mod_revision, pairs[0].value) == (witness.modified, witness.value):
        return ""
    return f"at revision {witness.modified} it does not have what {witness.key} was"
