"""The contract's values as etcd v3's messages and back. Decides nothing and waits for nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from aetcd import rpc

from argosy.store.base import Batch, Condition, DeletePrefix, Event, Put, Record, Write, prefix_end

Message = Any
"""A protobuf message; aetcd's have no types."""


def span(prefix: str) -> tuple[bytes, bytes]:
    """(key, range end) of all keys with the prefix; a zero byte stands for "from the first" and "to the last"."""
    return prefix.encode() or b"\0", prefix_end(prefix).encode() or b"\0"


def record(pair: Message) -> Record:
    """Keys that are not UTF-8 were not written by us; they are shown, and cannot be addressed."""
    return Record(pair.key.decode(errors="replace"), pair.value, pair.create_revision, pair.mod_revision, pair.lease)


def transaction(conditions: Sequence[Condition], writes: Sequence[Write]) -> Message:
    """If a condition fails, the answer holds the condition's keys as they stand."""
    return rpc.TxnRequest(
        compare=[
            rpc.Compare(result=rpc.Compare.EQUAL, target=rpc.Compare.MOD, key=condition.key.encode(), mod_revision=condition.revision)
            for condition in conditions
        ],
        success=[_operation(write) for write in writes],
        failure=[rpc.RequestOp(request_range=rpc.RangeRequest(key=condition.key.encode(), keys_only=True)) for condition in conditions],
    )


def failed_condition(conditions: Sequence[Condition], response: Message) -> tuple[Condition, int]:
    """The first condition that did not hold, and the revision that its key was found at."""
    for condition, found in zip(conditions, response.responses, strict=True):
        pairs = found.response_range.kvs
        modified = pairs[0].mod_revision if pairs else 0
        if modified != condition.revision:
            return condition, modified
    raise AssertionError("etcd refused a transaction whose conditions all hold")


def watch_request(prefix: str, position: int, previous: bool) -> Message:
    """Asks for everything from `position` on, itself included: so a compaction of exactly that revision is no loss, and one after it
    is seen as one. Events at `position` must be left out when they come."""
    key, end = span(prefix)
    return rpc.WatchRequest(
        create_request=rpc.WatchCreateRequest(
            key=key, range_end=end, start_revision=max(1, position), prev_kv=previous, progress_notify=True, fragment=True
        )
    )


def batches(events: Iterable[Message]) -> Sequence[Batch]:
    """Events as they came, grouped by revision."""
    found: list[Batch] = []
    group: list[Event] = []
    at = 0
    for event in events:
        pair = event.kv
        if pair.mod_revision != at:
            if group:
                found.append(Batch(at, tuple(group)))
            at, group = pair.mod_revision, []
        previous = record(event.prev_kv) if event.HasField("prev_kv") else None
        if event.type == rpc.Event.PUT:
            group.append(Event(pair.key.decode(errors="replace"), record(pair), previous))
        else:
            group.append(Event(pair.key.decode(errors="replace"), None, previous))
    if group:
        found.append(Batch(at, tuple(group)))
    return found


def _operation(write: Write) -> Message:
    if isinstance(write, Put):
        return rpc.RequestOp(request_put=rpc.PutRequest(key=write.key.encode(), value=write.value, lease=write.lease))
    if isinstance(write, DeletePrefix):
        key, end = span(write.prefix)
        return rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=key, range_end=end))
    return rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=write.key.encode()))
