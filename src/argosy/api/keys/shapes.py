"""etcd's v2 keys API in words and shapes: its errors, nodes and events, and what a request asks for. Pure.

Facts from etcd 3.4.23's v2 API; codes, messages and causes are what clients read.
"""

from __future__ import annotations

import base64
import datetime
import math
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from argosy.model import Entry
from argosy.web.errors import HttpError

LONGEST_KEY = 4096
"""Bytes of a key's path."""

DEEPEST_KEY = 50
"""Parts of a key's path: each directory on the way is a condition of the commit."""

LARGEST_VALUE = 700_000
"""Bytes of a value (base64 and JSON make it longer in the store, which takes a million)."""

LONGEST_TTL = 9_000_000_000

MESSAGES = {
    100: "Key not found",
    101: "Compare failed",
    102: "Not a file",
    104: "Not a directory",
    105: "Key already exists",
    107: "Root is read only",
    108: "Directory not empty",
    110: "The request requires user authentication",
    201: "PrevValue is Required in POST form",
    202: "The given TTL in POST form is not a number",
    203: "The given index in POST form is not a number",
    209: "Invalid field",
    210: "Invalid POST form",
    211: "Value provided on refresh",
    212: "A TTL must be provided on refresh",
    300: "Raft Internal Error",
    400: "watcher is cleared due to etcd recovery",
    401: "The event in requested index is outdated and cleared",
}
STATUSES = {100: 404, 101: 412, 102: 403, 105: 412, 108: 403, 110: 401, 300: 500}
"""HTTP statuses of codes; all others are 400."""

NOT_FOUND, COMPARE_FAILED, NOT_A_FILE, NOT_A_DIRECTORY, EXISTS, ROOT_READ_ONLY, NOT_EMPTY = 100, 101, 102, 104, 105, 107, 108
PREV_VALUE_REQUIRED, TTL_NAN, INDEX_NAN, INVALID_FIELD, INVALID_FORM, REFRESH_VALUE, REFRESH_TTL = 201, 202, 203, 209, 210, 211, 212
UNAUTHORIZED, INTERNAL, INDEX_CLEARED = 110, 300, 401

TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


class KeyFault(HttpError):
    """An error as etcd tells it. `index` is the store's, 0 for a request that was not understood. `status` overrides the code's own."""

    def __init__(self, code: int, cause: str = "", index: int = 0, status: int = 0) -> None:
        super().__init__(f"{MESSAGES[code]} ({cause})", status=status or STATUSES.get(code, 400))
        self.code = code
        self.cause = cause
        self.index = index

    def body(self) -> dict[str, Any]:
        told: dict[str, Any] = {"errorCode": self.code, "message": MESSAGES[self.code]}
        if self.cause:
            told["cause"] = self.cause
        return told | {"index": self.index}


class Ask(msgspec.Struct, frozen=True):
    """A request on a key. `path` begins with "/" and has no empty parts ("/" is the root). None: the client did not say."""

    method: str
    path: str
    value: bytes = b""
    directory: bool = False
    prev_value: bytes = b""
    prev_index: int = 0
    prev_exist: bool | None = None
    wait: bool = False
    wait_index: int = 0
    recursive: bool = False
    sorted: bool = False
    quorum: bool = False
    stream: bool = False
    ttl: int | None = None
    refresh: bool = False
    silent: bool = False


class NodeView(msgspec.Struct, frozen=True):
    """A node at one moment. `path` as in Ask."""

    path: str
    entry: Entry
    created: int
    modified: int


class KeyEvent(msgspec.Struct, frozen=True):
    """What happened to a key, as watchers are told. `silent`: only its time was renewed; watchers are not told."""

    revision: int
    action: str
    node: NodeView
    previous: NodeView | None = None
    silent: bool = False

    def concerns(self, path: str, recursive: bool) -> bool:
        """Whether a watcher of that path is told. A directory's end is told to those who watch inside it; hidden keys only to those who
        name them."""
        if self.silent:
            return False
        mine = self.node.path
        if mine == path:
            return True
        if recursive and mine.startswith(path if path.endswith("/") else path + "/"):
            return "/_" not in mine[len(path.rstrip("/")) :]
        return self.action in ("delete", "expire") and self.node.entry.directory and path.startswith(mine + "/")

    def told(self, now: float) -> dict[str, Any]:
        gone = self.action in ("delete", "expire", "compareAndDelete")
        told: dict[str, Any] = {"action": self.action, "node": node_told(self.node, now, bare=gone)}
        if self.previous is not None:
            told["prevNode"] = node_told(self.previous, now, ended=self.action == "expire")
        return told


def encode_value(value: bytes, **fields: Any) -> Entry:
    """An Entry with this value: as text if it is UTF-8, base64 otherwise."""
    try:
        return Entry(value=value.decode(), **fields)
    except UnicodeDecodeError:
        return Entry(value=base64.b64encode(value).decode(), binary=True, **fields)


def value_of(entry: Entry) -> bytes:
    return base64.b64decode(entry.value) if entry.binary else entry.value.encode()


def node_told(
    node: NodeView, now: float, *, bare: bool = False, ended: bool = False, children: Sequence[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """A node as etcd writes it; `bare` is one that is gone: no value, no time. One whose time is over but that is still there has a second
    left, unless it has `ended`."""
    told: dict[str, Any] = {}
    if node.path != "/":
        told["key"] = node.path
    if node.entry.directory:
        told["dir"] = True
    elif not bare:
        told["value"] = value_of(node.entry).decode("utf-8", "replace")
    if node.entry.expires and not bare:
        told["expiration"] = timestamp(node.entry.expires)
        left = math.ceil(node.entry.expires - now)
        if node.entry.ttl and not (ended and left <= 0):
            told["ttl"] = max(1, left)
    if children:
        told["nodes"] = list(children)
    if node.modified:
        told["modifiedIndex"] = node.modified
    if node.created:
        told["createdIndex"] = node.created
    return told


def timestamp(seconds: float) -> str:
    """RFC 3339, UTC, as Go writes times."""
    text = datetime.datetime.fromtimestamp(seconds, datetime.UTC).replace(tzinfo=None).isoformat()
    return (text.rstrip("0") if "." in text else text) + "Z"


def clean_path(raw: str) -> str:
    """A key's path from a URL's: "/" and parts joined by one slash. Raises KeyFault for what may not be a key."""
    if len(raw.encode("utf-8", "surrogatepass")) > LONGEST_KEY:
        raise KeyFault(INVALID_FIELD, f"the key has more than {LONGEST_KEY} bytes")
    parts = [part for part in raw.split("/") if part]
    if len(parts) > DEEPEST_KEY:
        raise KeyFault(INVALID_FIELD, f"the key lies deeper than {DEEPEST_KEY} directories")
    if ".." in parts or "." in parts:
        raise KeyFault(INVALID_FIELD, 'a key has no "." or ".." in its path')
    if any(ord(character) < 0x20 or ord(character) == 0x7F or 0xD800 <= ord(character) < 0xE000 for character in raw):
        raise KeyFault(INVALID_FIELD, "a key has no control characters and is valid Unicode")
    return "/" + "/".join(parts)


Form = Mapping[str, Sequence[bytes]]


def parse_form(query: bytes, body: bytes = b"") -> dict[str, list[bytes]]:
    """Parameters of a form and a query string, the form's first. Raises KeyFault for what is not urlencoded."""
    form: dict[str, list[bytes]] = {}
    for part in (*body.split(b"&"), *query.split(b"&")):
        if not part:
            continue
        if b";" in part:
            raise KeyFault(INVALID_FORM, "invalid semicolon separator in query")
        name, _, value = part.partition(b"=")
        form.setdefault(_unquoted(name).decode("utf-8", "replace"), []).append(_unquoted(value))
    return form


def _unquoted(text: bytes) -> bytes:
    text = text.replace(b"+", b" ")
    for place, byte in enumerate(text):
        if byte == 0x25 and not _is_hex(text[place + 1 : place + 3]):
            raise KeyFault(INVALID_FORM, f'invalid URL escape "{text[place : place + 3].decode("ascii", "replace")}"')
    return unquote_to_bytes(text)


def _is_hex(text: bytes) -> bool:
    return len(text) == 2 and all(byte in b"0123456789abcdefABCDEF" for byte in text)


def read_ask(method: str, path: str, form: Form) -> Ask:
    """What a request asks for. Raises KeyFault in etcd's words, in the order in which etcd looks."""
    prev_index = _number(form, "prevIndex", INDEX_NAN)
    wait_index = _number(form, "waitIndex", INDEX_NAN)
    flags = {name: _flag(form, name) for name in ("recursive", "sorted", "wait", "dir", "quorum", "stream")}
    if flags["wait"] and method != "GET":
        raise KeyFault(INVALID_FIELD, '"wait" can only be used with GET requests')
    prev_value = form.get("prevValue", [b""])[0]
    if "prevValue" in form and not prev_value:
        raise KeyFault(PREV_VALUE_REQUIRED, '"prevValue" cannot be empty')
    silent = _flag(form, "noValueOnSuccess")
    ttl = _number(form, "ttl", TTL_NAN) if form.get("ttl", [b""])[0] else None
    if ttl is not None and ttl > LONGEST_TTL:
        raise KeyFault(TTL_NAN, f'invalid value for "ttl": the most is {LONGEST_TTL}')
    prev_exist = _flag(form, "prevExist", bare=True) if "prevExist" in form else None
    refresh = _flag(form, "refresh", bare=True)
    value = form.get("value", [b""])[0]
    if refresh and value:
        raise KeyFault(REFRESH_VALUE, "A value was provided on a refresh")
    if refresh and ttl is None:
        raise KeyFault(REFRESH_TTL, "No TTL value set")
    if len(value) > LARGEST_VALUE:
        raise KeyFault(INVALID_FIELD, f"the value has {len(value)} bytes; at most {LARGEST_VALUE} are taken", status=413)
    return Ask(
        method=method,
        path=path,
        value=value,
        directory=flags["dir"],
        prev_value=prev_value,
        prev_index=prev_index,
        prev_exist=prev_exist,
        wait=flags["wait"],
        wait_index=wait_index,
        recursive=flags["recursive"],
        sorted=flags["sorted"],
        quorum=flags["quorum"],
        stream=flags["stream"],
        ttl=ttl,
        refresh=refresh,
        silent=silent,
    )


def _number(form: Form, name: str, code: int) -> int:
    if name not in form:
        return 0
    text = form[name][0]
    if not text.isdigit() or not text.isascii() or len(text) > 20 or int(text) >= 2**64:
        raise KeyFault(code, f'invalid value for "{name}"')
    return int(text)


def _flag(form: Form, name: str, *, bare: bool = False) -> bool:
    """Go's booleans. etcd quotes the names of some fields (not those that are `bare`)."""
    if name not in form:
        return False
    text = form[name][0].decode("utf-8", "replace")
    if text not in TRUE and text not in FALSE:
        raise KeyFault(INVALID_FIELD, f"invalid value for {name}" if bare else f'invalid value for "{name}"')
    return text in TRUE
