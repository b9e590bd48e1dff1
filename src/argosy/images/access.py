"""Who may do what with which images, and where a registry may listen. Decisions only: values in, values out.

A rules file says, a line each, who may do what with which names:

    alice      delete  **
    ci         push    apps/* base/*
    *          pull    apps/**            every user of the htpasswd file
    anonymous  pull    public/**          and whoever names no user

`pull` reads; `push` reads and writes; `delete` reads, writes and removes. In a pattern `*` stands for anything within one component of a
name, `**` for anything. Without a rules file every user may do everything, and anonymous nothing.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

import msgspec

from argosy.errors import InvalidInput
from argosy.images.names import is_repository
from argosy.web.addresses import is_loopback

ANONYMOUS = "anonymous"
EVERYONE = "*"
CATALOG = "catalog"
ACTIONS = ("pull", "push", "delete")
IMPLIED = {"pull": ("pull",), "push": ("pull", "push"), "delete": ACTIONS}

_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")
_PATTERN = re.compile(r"[a-z0-9._*/-]{1,255}")
LONGEST_SCOPE = 100
"""Scopes that a client may ask for at once."""


class Need(msgspec.Struct, frozen=True):
    """One thing that somebody asks for. `kind`: repository or registry (whose only name is `catalog`)."""

    kind: str
    name: str
    action: str

    @property
    def scope(self) -> str:
        """As the Docker token protocol writes it."""
        return f"{self.kind}:{self.name}:{'*' if self.kind == 'registry' else self.action}"


class Rule(msgspec.Struct, frozen=True):
    """`who` (a user, * or anonymous) may do `actions` with names that match `pattern`."""

    who: str
    actions: tuple[str, ...]
    pattern: str


class Rules(msgspec.Struct, frozen=True):
    """All of them: what no rule allows is refused."""

    rules: tuple[Rule, ...]

    def allow(self, user: str, need: Need) -> bool:
        """May `user` ("" for one who names none)? The catalog is for those who may read every name."""
        catalog = need.kind == "registry"
        action = "pull" if catalog else need.action
        return any(
            action in rule.actions
            and rule.who in _known_as(user)
            and (rule.pattern == "**" or (not catalog and _compiled(rule.pattern).fullmatch(need.name)))
            for rule in self.rules
        )


ALL_TO_USERS = Rules((Rule(EVERYONE, ACTIONS, "**"),))
ALL_TO_ANYONE = Rules((Rule(EVERYONE, ACTIONS, "**"), Rule(ANONYMOUS, ACTIONS, "**")))


def _known_as(user: str) -> tuple[str, ...]:
    return (user, EVERYONE, ANONYMOUS) if user else (ANONYMOUS,)


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    pieces = re.split(r"(\*\*|\*)", pattern)
    return re.compile("".join({"**": ".*", "*": "[^/]*"}.get(piece, re.escape(piece)) for piece in pieces))


def parse_rules(text: str, where: str) -> Rules:
    """The rules of a file. Raises InvalidInput naming the line."""
    rules: list[Rule] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) < 3 or words[1] not in ACTIONS:
            raise InvalidInput(f"{where} line {number}: {line.strip()!r} is no rule", remedy="write USER pull|push|delete PATTERN...")
        who, action, *patterns = words
        if who not in (EVERYONE, ANONYMOUS) and not _USER.fullmatch(who):
            raise InvalidInput(f"{where} line {number}: {who!r} is no user's name")
        for pattern in patterns:
            if not _PATTERN.fullmatch(pattern) or "***" in pattern:
                raise InvalidInput(f"{where} line {number}: {pattern!r} is no pattern of names", remedy="such as apps/* or **")
            rules.append(Rule(who, IMPLIED[action], pattern))
    return Rules(tuple(rules))


def needs(method: str, kind: str, name: str, source: str = "") -> tuple[Need, ...]:
    """What a request asks for; () for what anybody who may enter at all may do (GET /v2/). `kind` is what it is about (http.Target), `name`
    the repository, `source` the one that a blob is to be mounted from."""
    if kind == "base":
        return ()
    if kind == "catalog":
        return (Need("registry", CATALOG, "pull"),)
    if kind in ("uploads", "upload"):  # how far an upload is, and giving it up, is its owner's matter
        push = Need("repository", name, "push")
        return (push, Need("repository", source, "pull")) if source else (push,)
    action = "pull" if method in ("GET", "HEAD") else "delete" if method == "DELETE" else "push"
    return (Need("repository", name, action),)


def parse_scopes(scopes: Iterable[str]) -> tuple[Need, ...]:
    """What a client asks a token for: `repository:NAME:pull,push`, `registry:catalog:*`, several separated by blanks. What it means nothing
    to us (other kinds, actions and names) is left out, as the protocol wants. Raises InvalidInput for too many."""
    words = [word for scope in scopes for word in scope.split()]
    if len(words) > LONGEST_SCOPE:
        raise InvalidInput(f"{len(words)} scopes are asked for; at most {LONGEST_SCOPE} at once")
    found: dict[Need, None] = {}
    for word in words:
        kind, _, rest = word.partition(":")
        name, _, actions = rest.rpartition(":")
        kind = kind.partition("(")[0] if kind.endswith(")") else kind  # repository(plugin): a class that nothing here depends on
        if kind == "registry" and name == CATALOG:
            found[Need(kind, name, "pull")] = None
        elif kind == "repository" and is_repository(name):
            for action in ACTIONS if "*" in actions.split(",") else actions.split(","):
                if action in ACTIONS:
                    found[Need(kind, name, action)] = None
    return tuple(found)


def quoted(text: str) -> str:
    """A quoted-string of HTTP: what a client named is not to end it."""
    return '"' + re.sub(r"[^\x20-\x7e]", "?", text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def basic_challenge(service: str) -> str:
    return f"Basic realm={quoted(service)}"


def bearer_challenge(realm: str, service: str, wanted: Iterable[Need], error: str = "") -> str:
    """`Bearer realm=...,service=...,scope=...`: what the client is to ask a token for. Needs of one name share a scope; pushing asks for
    pulling too, as clients of every registry expect."""
    names: dict[tuple[str, str], dict[str, None]] = {}
    for need in wanted:
        actions = ("*",) if need.kind == "registry" else ("pull", "push") if need.action == "push" else (need.action,)
        names.setdefault((need.kind, need.name), {}).update(dict.fromkeys(actions))
    scope = " ".join(f"{kind}:{name}:{','.join(actions)}" for (kind, name), actions in names.items())
    parts = [f"realm={quoted(realm)}", f"service={quoted(service)}"]
    parts += [f"scope={quoted(scope)}"] if scope else []
    parts += [f"error={quoted(error)}"] if error else []
    return "Bearer " + ",".join(parts)


def check_listen(host: str, *, users: bool, tls: bool, anyone: bool = False, plain: bool = False) -> None:
    """Raises InvalidInput for an address that may not be served so: beyond loopback there must be users and TLS, unless the operator says
    that `anyone` may come in, or that `plain` HTTP is meant (somebody else ends TLS in front, or the network is a container bridge)."""
    if is_loopback(host):
        return
    if not users and not anyone:
        raise InvalidInput(
            f"{host} is not a loopback address, and whoever reaches it could read and replace every image",
            remedy="name users with --htpasswd FILE, or say --allow-anyone",
        )
    if not tls and not plain:
        raise InvalidInput(
            f"{host} is not a loopback address, and images and passwords would cross the network in the clear",
            remedy="give --cert and --key, or say --allow-plain",
        )
