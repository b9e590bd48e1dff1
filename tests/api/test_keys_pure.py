"""etcd's v2 keys without a store: what requests mean, what keys may be, and the tree that events keep current."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.api.keys.plan import plan
from argosy.api.keys.shapes import (
    LARGEST_VALUE,
    Ask,
    KeyEvent,
    KeyFault,
    NodeView,
    clean_path,
    encode_value,
    parse_form,
    read_ask,
    timestamp,
    value_of,
)
from argosy.api.keys.tree import DIRECTORY, Mark, Tree, events_of, parents
from argosy.model import Entry
from argosy.state.keys import KV_MARK
from argosy.state.records import encode
from argosy.store.base import Batch, Condition, Delete, DeletePrefix, Event, Put, Record, Write


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("", "/"),
        ("/", "/"),
        ("/a", "/a"),
        ("//a///b/", "/a/b"),
        ("/ü/日本", "/ü/日本"),
        ("/a b/%", "/a b/%"),
        ("/..a/b..", "/..a/b.."),
        ("/" + "x" * 4095, "/" + "x" * 4095),
        ("/" + "x/" * 50, "/" + "/".join("x" * 50)),
    ],
)
def test_paths_are_cleaned(raw: str, path: str) -> None:
    assert clean_path(raw) == path


@pytest.mark.parametrize(
    "raw", ["/..", "/a/../b", "/./a", "/a\nb", "/a\x00", "/\x7f", "/\ud800", "/" + "x" * 4096, "/" + "ü" * 2048, "/" + "x/" * 51]
)
def test_what_may_be_no_key_is_refused(raw: str) -> None:
    with pytest.raises(KeyFault) as refused:
        clean_path(raw)
    assert (refused.value.code, refused.value.status) == (209, 400)


@pytest.mark.parametrize(
    ("query", "body", "form"),
    [
        (b"", b"", {}),
        (b"a=1", b"a=2", {"a": [b"2", b"1"]}),
        (b"", b"value=a+b%20c%26&&x", {"value": [b"a b c&"], "x": [b""]}),
        (b"", b"value=%ff%00", {"value": [b"\xff\x00"]}),
    ],
)
def test_forms_are_read(query: bytes, body: bytes, form: dict[str, list[bytes]]) -> None:
    assert parse_form(query, body) == form


@pytest.mark.parametrize("body", [b"value=%", b"value=%2", b"%zz=1", b"a=1;b=2"])
def test_forms_that_are_none_are_refused(body: bytes) -> None:
    with pytest.raises(KeyFault) as refused:
        parse_form(b"", body)
    assert refused.value.code == 210


@given(st.binary(max_size=200))
def test_any_bytes_are_a_form_or_refused(body: bytes) -> None:
    try:
        form = parse_form(b"", body)
        read_ask("PUT", "/a", form)
    except KeyFault as fault:
        assert fault.body()["errorCode"] == fault.code  # noqa: PT017
    else:
        assert isinstance(form, dict)


def test_values_are_limited() -> None:
    assert len(read_ask("PUT", "/a", {"value": [b"x" * LARGEST_VALUE]}).value) == LARGEST_VALUE
    with pytest.raises(KeyFault) as refused:
        read_ask("PUT", "/a", {"value": [b"x" * (LARGEST_VALUE + 1)]})
    assert (refused.value.status, refused.value.code) == (413, 209)
    with pytest.raises(KeyFault) as refused:
        read_ask("PUT", "/a", {"ttl": [b"18446744073709551615"]})
    assert refused.value.code == 202


@given(st.binary(max_size=300))
def test_values_survive_the_store(value: bytes) -> None:
    entry = encode_value(value)
    assert value_of(msgspec.json.decode(encode(entry), type=Entry)) == value


def test_the_largest_value_fits_into_a_record() -> None:
    for value in (b"\xff" * LARGEST_VALUE, b"x" * LARGEST_VALUE):
        assert len(encode(encode_value(value))) < 1_000_000


def test_times_are_written_as_go_writes_them() -> None:
    assert timestamp(0) == "1970-01-01T00:00:00Z"
    assert timestamp(1_700_000_000.25) == "2023-11-14T22:13:20.25Z"


CONCERNS = [
    ("itself", "set", "/a/b", False, "/a/b", False, True),
    ("not its child", "set", "/a/b", False, "/a", False, False),
    ("its child, deep", "set", "/a/b", False, "/a", True, True),
    ("everything, deep", "set", "/a/b", False, "/", True, True),
    ("no neighbour with the same beginning", "set", "/ab", False, "/a", True, False),
    ("no hidden child", "set", "/a/_b", False, "/a", True, False),
    ("nothing in a hidden directory", "set", "/a/_b/c", False, "/a", True, False),
    ("inside a hidden directory", "set", "/_a/b", False, "/_a", True, True),
    ("a hidden key by its name", "set", "/_a", False, "/_a", False, True),
    ("what its directory's end takes along", "delete", "/a", True, "/a/b/c", False, True),
    ("its directory's expiry", "expire", "/a", True, "/a/b", True, True),
    ("not its directory's change", "update", "/a", True, "/a/b", True, False),
    ("not the end of a file beside", "delete", "/a", False, "/a/b", False, False),
]


@pytest.mark.parametrize(("said", "action", "happened", "directory", "watched", "deep", "told"), CONCERNS, ids=[row[0] for row in CONCERNS])
def test_a_watcher_is_told_of(said: str, action: str, happened: str, directory: bool, watched: str, deep: bool, told: bool) -> None:
    event = KeyEvent(5, action, NodeView(happened, Entry(directory=directory), 5, 5))
    assert event.concerns(watched, deep) is told
    assert not msgspec.structs.replace(event, silent=True).concerns(watched, deep)


def record(path: str, value: str = "v", revision: int = 1, lease: int = 0, **fields: Any) -> Record:
    return Record(f"/argosy/kv{path}", encode(Entry(value, **fields)), revision, revision, lease)


def test_a_deletion_without_a_mark_is_an_expiry_if_there_was_a_lease() -> None:
    batch = Batch(9, tuple(Event(f"/argosy/kv{path}", None, record(path, lease=lease)) for path, lease in (("/a", 7), ("/b", 0))))
    assert [(event.action, event.node.path) for event in events_of(batch)] == [("expire", "/a"), ("delete", "/b")]


def test_a_marked_deletion_is_one_event_and_a_sweep_none() -> None:
    gone = (Event("/argosy/kv/d", None, record("/d", directory=True)), Event("/argosy/kv/d/x", None, record("/d/x", lease=7)))
    for action, told in (("delete", [("delete", "/d")]), ("sweep", [])):
        mark = Record(KV_MARK, encode(Mark(action, "/d", True)), 9, 9)
        batch = Batch(9, (Event(KV_MARK, mark), *gone))
        assert [(event.action, event.node.path) for event in events_of(batch)] == told


def test_a_write_is_conditioned_on_its_directories_and_makes_those_that_lack_a_record() -> None:
    tree = Tree([record("/a/b", revision=4)], 4)
    planned = plan(tree, Ask("PUT", "/a/c/d", value=b"1"), 0.0)
    assert planned.conditions == (
        Condition("/argosy/kv/a", 0),
        Condition("/argosy/kv/a/c", 0),
        Condition("/argosy/kv-timed/a/c", 0),
        Condition("/argosy/kv/a/c/d", 0),
    )
    assert planned.writes == (Put("/argosy/kv/a", encode(DIRECTORY)), Put("/argosy/kv/a/c", encode(DIRECTORY)))
    assert parents("/a/c/d") == ["/a", "/a/c"]


def test_a_directory_that_ended_without_its_keys_is_not_there_and_must_be_swept_before_it_is_made_again() -> None:
    left = [record("/d/x", revision=4), Record("/argosy/kv-timed/d", b"5", 3, 3)]
    tree = Tree(left, 5)
    assert (tree.get("/d"), tree.ended) == (None, {"/d"})
    for path in ("/d", "/d/x", "/d/e/f"):
        assert Condition("/argosy/kv-timed/d", 0) in plan(tree, Ask("PUT", path, value=b"1"), 0.0).conditions
    assert not tree.apply(Batch(6, tuple(Event(held.key, None, held) for held in left))) or not tree.ended
    standing = Tree([record("/d", directory=True), *left], 5)
    assert (standing.ended, [node.path for node in standing.below("/")]) == (set(), ["/d", "/d/x"])


PATHS = ["/a", "/b", "/a/x", "/a/y", "/a/x/z", "/b/q/r"]
STEPS = st.lists(
    st.one_of(
        st.builds(Ask, st.just("PUT"), st.sampled_from(PATHS), st.sampled_from([b"1", b"2"]), st.booleans()),
        st.builds(lambda path: Ask("DELETE", path, recursive=True), st.sampled_from(PATHS)),
    ),
    max_size=30,
)


@settings(deadline=None)
@given(STEPS)
def test_a_tree_kept_current_is_the_tree_read_anew(steps: list[Ask]) -> None:
    """Each plan is done to a dictionary as a store would do it; both trees tell the same then, and each event is of the right key."""
    kept = Tree()
    records: dict[str, Record] = {}
    revision = 1
    for wanted in steps:
        try:
            planned = plan(kept, wanted, 0.0)
        except KeyFault:
            continue
        assert all((records[held.key].modified if held.key in records else 0) == held.revision for held in planned.conditions)
        revision += 1
        writes = [*planned.writes, *([Put(f"/argosy/kv{planned.path}", encode(planned.entry))] if planned.entry else [])]
        events = kept.apply(Batch(revision, tuple(event for write in writes for event in _done(records, write, revision))))
        assert [(event.action, event.node.path) for event in events] == [(planned.action, wanted.path)]
        anew = Tree([held for held in records.values() if held.key != KV_MARK], revision)
        assert _shown(kept) == _shown(anew)


def _done(records: dict[str, Record], write: Write, revision: int) -> list[Event]:
    if isinstance(write, DeletePrefix):
        return [Event(name, None, records.pop(name)) for name in sorted(records) if name.startswith(write.prefix)]
    before = records.pop(write.key, None)
    if isinstance(write, Delete):
        return [Event(write.key, None, before)] if before else []
    records[write.key] = Record(write.key, write.value, before.created if before else revision, revision, write.lease)
    return [Event(write.key, records[write.key], before)]


def _shown(tree: Tree) -> list[tuple[str, bool, str, int, int]]:
    views = [node.view() for node in tree.below("/")]
    return sorted((view.path, view.entry.directory, view.entry.value, view.created, view.modified) for view in views)
