"""What a write on etcd v2 keys does to the store: etcd's rules on a tree in, one conditioned commit out. Decides and touches nothing."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from argosy.api.keys.shapes import (
    COMPARE_FAILED,
    EXISTS,
    NOT_A_DIRECTORY,
    NOT_A_FILE,
    NOT_EMPTY,
    NOT_FOUND,
    ROOT_READ_ONLY,
    Ask,
    KeyFault,
    NodeView,
    encode_value,
    value_of,
)
from argosy.api.keys.tree import DIRECTORY, Mark, Node, Tree, key, parents, timed
from argosy.model import Entry
from argosy.state import keys
from argosy.state.records import encode
from argosy.store.base import Condition, Delete, DeletePrefix, Put, Write

NUMBER_DIGITS = 20


class Plan(msgspec.Struct, frozen=True):
    """A write that may go ahead. `entry` (None: a deletion) is to be put at `path`, under a lease of `entry.ttl` seconds if that is not 0
    (`lease` is one of that length that it may keep), with `writes`, on `conditions`. `created` is the node's index, 0 for the commit's
    own."""

    action: str
    path: str
    conditions: tuple[Condition, ...]
    writes: tuple[Write, ...]
    entry: Entry | None = None
    lease: int = 0
    created: int = 0
    previous: NodeView | None = None
    directory: bool = False

    def answer(self, revision: int) -> NodeView:
        """The node as the client is told of it."""
        return NodeView(self.path, self.entry or Entry(directory=self.directory), self.created or revision, revision)


def plan(tree: Tree, ask: Ask, now: float, number: int = 0, number_revision: int = 0) -> Plan:
    """What a PUT, POST or DELETE does. `number` names an in-order key, `number_revision` is the counter's. Raises KeyFault as etcd
    would."""
    if ask.method == "DELETE":
        if ask.prev_index or ask.prev_value:
            return _compare_and_delete(tree, ask)
        return _delete(tree, ask)
    if ask.method == "POST":
        return _create_in_order(tree, ask, now, number, number_revision)
    if ask.prev_exist is False:
        return _create(tree, ask, now, "create")
    if ask.prev_index or ask.prev_value:
        return _compare_and_swap(tree, ask, now)
    if ask.prev_exist:
        return _update(tree, ask, now)
    return _set(tree, ask, now)


def _existing(tree: Tree, path: str) -> Node:
    """The node, or etcd's complaint about the first thing on the way that is in the way or missing."""
    way = list(tree.walk(path))
    last = way[-1]
    if last.path == path:
        return last
    if last.children is None:
        raise KeyFault(NOT_A_DIRECTORY, last.path, tree.revision)
    rest = path[len(last.path.rstrip("/")) + 1 :]
    raise KeyFault(NOT_FOUND, f"{last.path.rstrip('/')}/{rest.partition('/')[0]}", tree.revision)


def find(tree: Tree, path: str) -> Node:
    """The node that a GET is about. Raises KeyFault."""
    return _existing(tree, path)


def _set(tree: Tree, ask: Ask, now: float) -> Plan:
    try:
        node = _existing(tree, ask.path)
    except KeyFault as fault:
        if fault.code != NOT_FOUND or ask.refresh:
            raise
        return _create(tree, ask, now, "set")
    if ask.path == "/":
        raise KeyFault(ROOT_READ_ONLY, "/", tree.revision)
    if node.children is not None:
        raise KeyFault(NOT_A_FILE, ask.path, tree.revision)
    value = value_of(node.entry) if ask.refresh else ask.value
    entry = DIRECTORY if ask.directory else encode_value(value)
    return _put(tree, ask, now, "set", _timed(entry, ask, now), node)


def _create(tree: Tree, ask: Ask, now: float, action: str) -> Plan:
    if ask.path == "/":
        raise KeyFault(ROOT_READ_ONLY, "/", tree.revision)
    way = list(tree.walk(ask.path))
    if way[-1].path == ask.path:
        raise KeyFault(EXISTS, ask.path, tree.revision)
    if way[-1].children is None:
        raise KeyFault(NOT_A_DIRECTORY, way[-1].path, tree.revision)
    entry = DIRECTORY if ask.directory else encode_value(ask.value)
    return _put(tree, ask, now, action, _timed(entry, ask, now), None)


def _create_in_order(tree: Tree, ask: Ask, now: float, number: int, number_revision: int) -> Plan:
    inside = msgspec.structs.replace(ask, path=f"{ask.path.rstrip('/')}/{number:0{NUMBER_DIGITS}d}")
    made = _create(tree, inside, now, "create")
    counter = Put(keys.KV_NUMBER, encode(number))
    return msgspec.structs.replace(
        made, conditions=(*made.conditions, Condition(keys.KV_NUMBER, number_revision)), writes=(*made.writes, counter)
    )


def _update(tree: Tree, ask: Ask, now: float) -> Plan:
    if ask.path == "/":
        raise KeyFault(ROOT_READ_ONLY, "/", tree.revision)
    node = _existing(tree, ask.path)
    if node.children is not None:
        if ask.value:
            raise KeyFault(NOT_A_FILE, ask.path, tree.revision)
        entry = Entry(directory=True, modified=node.view().modified)
    else:
        entry = encode_value(value_of(node.entry) if ask.refresh else ask.value)
    return _put(tree, ask, now, "update", _timed(entry, ask, now), node, keep=True)


def _compare_and_swap(tree: Tree, ask: Ask, now: float) -> Plan:
    if ask.path == "/":
        raise KeyFault(ROOT_READ_ONLY, "/", tree.revision)
    node = _compared(tree, ask)
    entry = encode_value(value_of(node.entry) if ask.refresh else ask.value)
    return _put(tree, ask, now, "compareAndSwap", _timed(entry, ask, now), node, keep=True)


def _compared(tree: Tree, ask: Ask) -> Node:
    node = _existing(tree, ask.path)
    if node.children is not None:
        raise KeyFault(NOT_A_FILE, "" if ask.path == "/" else ask.path, tree.revision)
    value, modified = value_of(node.entry), node.view().modified
    same_value = not ask.prev_value or value == ask.prev_value
    same_index = not ask.prev_index or modified == ask.prev_index
    if same_value and same_index:
        return node
    values = f"[{ask.prev_value.decode('utf-8', 'replace')} != {value.decode('utf-8', 'replace')}]"
    indexes = f"[{ask.prev_index} != {modified}]"
    cause = indexes if same_value else values if same_index else f"{values} {indexes}"
    raise KeyFault(COMPARE_FAILED, cause, tree.revision)


def _timed(entry: Entry, ask: Ask, now: float) -> Entry:
    if ask.ttl is None:
        return entry
    return msgspec.structs.replace(entry, ttl=ask.ttl, expires=now + ask.ttl)


def _put(tree: Tree, ask: Ask, now: float, action: str, entry: Entry, node: Node | None, *, keep: bool = False) -> Plan:
    """`node` is what stands at the path; with `keep` it keeps its created index."""
    before = node.view() if node is not None else None
    created = before.created if keep and before is not None else 0
    entry = msgspec.structs.replace(entry, action=action, refresh=ask.refresh, created=created)
    conditions, writes = _way(tree, ask.path)
    conditions.append(Condition(key(ask.path), node.revision if node is not None else 0))
    if entry.directory:
        writes.append(Put(timed(ask.path), encode(entry.ttl)) if entry.expires else Delete(timed(ask.path)))
    lease = node.lease if node is not None and node.entry.ttl == entry.ttl and node.entry.expires > now else 0
    return Plan(
        action, ask.path, tuple(conditions), tuple(writes), entry, lease, created, before if action != "create" else None, ask.directory
    )


def _way(tree: Tree, path: str) -> tuple[list[Condition], list[Write]]:
    """Conditions on the directories that the path lies in, and writes that make those that are missing. What is the first to be made on the
    way must not be a directory that has ended and whose keys are still there: they would come back with it."""
    conditions: list[Condition] = []
    writes: list[Write] = []
    for directory in parents(path):
        node = tree.get(directory)
        conditions.append(Condition(key(directory), node.revision if node is not None else 0))
        if node is None or node.record is None:
            writes.append(Put(key(directory), encode(DIRECTORY)))
    made = next((step for step in (*parents(path), path) if tree.get(step) is None), "")
    if made:
        conditions.append(Condition(timed(made), 0))
    return conditions, writes


def _delete(tree: Tree, ask: Ask) -> Plan:
    if ask.path == "/":
        raise KeyFault(ROOT_READ_ONLY, "/", tree.revision)
    node = _existing(tree, ask.path)
    if node.children is None:
        return _removed(tree, ask.path, node, "delete")
    if not (ask.directory or ask.recursive):
        raise KeyFault(NOT_A_FILE, ask.path, tree.revision)
    if node.children and not ask.recursive:
        raise KeyFault(NOT_EMPTY, ask.path, tree.revision)
    return _removed(tree, ask.path, node, "delete")


def _compare_and_delete(tree: Tree, ask: Ask) -> Plan:
    node = _compared(tree, ask)
    return _removed(tree, ask.path, node, "compareAndDelete")


def _removed(tree: Tree, path: str, node: Node, action: str) -> Plan:
    """Deletes the node with all that is below it, in one commit: nobody ever sees a part of it."""
    directory = node.children is not None
    writes: list[Write] = [Put(keys.KV_MARK, encode(Mark(action, path, directory))), Delete(key(path))]
    if directory:
        writes += below(path)
    before = node.view()
    return Plan(
        action,
        path,
        (Condition(key(path), node.revision),),
        tuple(writes),
        created=before.created,
        previous=before,
        directory=directory,
    )


def sweep(path: str, timed_revision: int) -> tuple[Sequence[Condition], Sequence[Write]]:
    """Deletes what was below a directory whose time is over, as long as it is not there again; nobody is told. `timed_revision` is that of
    the record that says that it has a time, 0 for none."""
    conditions = (Condition(key(path), 0), Condition(timed(path), timed_revision))
    return conditions, (Put(keys.KV_MARK, encode(Mark("sweep", path, True))), *below(path))


def below(path: str) -> Sequence[Write]:
    """The end of everything below a directory, and of its time."""
    return DeletePrefix(key(path) + "/"), DeletePrefix(timed(path) + "/"), Delete(timed(path))
