"""The contract's values as etcd's messages and back."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from aetcd import rpc
from aetcd.rpc import kv_pb2

from argosy.store.base import Batch, Condition, Delete, DeletePrefix, Event, Put, Record
from argosy.store.wire import batches, failed_condition, record, span, transaction, watch_request


def pair(key: str, revision: int, created: int = 1, value: bytes = b"v", lease: int = 0) -> kv_pb2.KeyValue:
    return kv_pb2.KeyValue(key=key.encode(), value=value, create_revision=created, mod_revision=revision, lease=lease)


@pytest.mark.parametrize(
    ("prefix", "key", "end"),
    [("", b"\0", b"\0"), ("/a/", b"/a/", b"/a0"), ("\U0010ffff", "\U0010ffff".encode(), b"\0"), ("é", "é".encode(), "ê".encode())],
)
def test_a_prefix_is_a_span_of_keys(prefix: str, key: bytes, end: bytes) -> None:
    assert span(prefix) == (key, end)


def test_a_record_has_all_that_etcd_says_and_a_foreign_key_is_shown() -> None:
    assert record(pair("/a", 7, 5, b"x", 9)) == Record("/a", b"x", 5, 7, 9)
    assert record(kv_pb2.KeyValue(key=b"\xff/a")).key == "\ufffd/a"


def test_events_are_grouped_by_their_revision_in_the_order_they_came() -> None:
    events: Sequence[kv_pb2.Event] = [
        kv_pb2.Event(type=kv_pb2.Event.PUT, kv=pair("/b", 5, 5)),
        kv_pb2.Event(type=kv_pb2.Event.DELETE, kv=kv_pb2.KeyValue(key=b"/a", mod_revision=5), prev_kv=pair("/a", 3)),
        kv_pb2.Event(type=kv_pb2.Event.PUT, kv=pair("/b", 6, 5), prev_kv=pair("/b", 5, 5)),
    ]
    old, b5, b6 = Record("/a", b"v", 1, 3), Record("/b", b"v", 5, 5), Record("/b", b"v", 5, 6)
    assert batches(events) == [Batch(5, (Event("/b", b5), Event("/a", None, old))), Batch(6, (Event("/b", b6, b5),))]
    assert batches([]) == []


def test_a_watch_asks_from_its_position_on_so_that_compaction_of_it_is_no_loss() -> None:
    assert watch_request("/a/", 41, False).create_request.start_revision == 41
    assert watch_request("/a/", 0, True).create_request.start_revision == 1, "zero would mean: from now on"


def test_a_transaction_asks_for_what_its_conditions_found_when_it_fails() -> None:
    conditions = [Condition("/a", 3), Condition("/b", 0), Condition("/c", 9)]
    request = transaction(conditions, [Put("/x", b"1", 4), Delete("/y"), DeletePrefix("/z/")])
    assert [(compare.key, compare.mod_revision) for compare in request.compare] == [(b"/a", 3), (b"/b", 0), (b"/c", 9)]
    assert (request.success[0].request_put.key, request.success[0].request_put.lease) == (b"/x", 4)
    assert [(done.request_delete_range.key, done.request_delete_range.range_end) for done in request.success[1:]] == [
        (b"/y", b""),
        (b"/z/", b"/z0"),
    ]
    answer = rpc.TxnResponse(
        responses=[
            rpc.ResponseOp(response_range=rpc.RangeResponse(kvs=[pair("/a", 3)])),
            rpc.ResponseOp(response_range=rpc.RangeResponse(kvs=[pair("/b", 8)])),
            rpc.ResponseOp(response_range=rpc.RangeResponse()),
        ]
    )
    assert failed_condition(conditions, answer) == (Condition("/b", 0), 8)
