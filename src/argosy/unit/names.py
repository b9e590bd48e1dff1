"""Unit names: what they may be, and what templates and instances make of them.

A name is `prefix[@[instance]].type`: everything between the first `@` and the last `.` is the instance. `foo@.service` is a template,
`foo@1.service` an instance of it. The rules are fleet's; where systemd is stricter (a leading dot), so are we.
"""

from __future__ import annotations

import re

from argosy.errors import InvalidUnit

LONGEST_NAME = 255
"""As systemd has it: a unit is a file, and no file name on Linux is longer. fleet says 256."""

UNIT_TYPES = frozenset(
    ["automount", "busname", "device", "mount", "path", "scope", "service", "slice", "snapshot", "socket", "swap", "target", "timer"],
)
TEMPLATE_TYPES = frozenset(["path", "service", "socket", "target", "timer"])
SUFFIXES_KEPT = (".service", ".socket", ".timer", ".path", ".device", ".mount", ".automount")
"""What `normalize` leaves alone; anything else is taken for a service's name, as fleetctl takes it."""

_BODY = re.compile(r"[A-Za-z0-9:\-_.\\@]+")
_USUAL = re.compile(r"(?![.@])[A-Za-z0-9:\-_.\\]+(?:@[A-Za-z0-9:\-_.\\@]*)?\.(?:path|service|socket|target|timer)")


def shortened(text: str) -> str:
    """A text from outside, no longer than fits into a line of an error."""
    return text if len(text) <= 60 else f"{text[:45]}…{text[-14:]}"


def shown(text: str) -> str:
    """A text from outside, quoted, escaped and shortened."""
    return repr(shortened(text))


def is_name(name: str) -> bool:
    """Whether check_name would let it pass; quick for the names that are usual."""
    if _USUAL.fullmatch(name) and len(name) <= LONGEST_NAME:
        return True
    try:
        check_name(name)
    except InvalidUnit:
        return False
    return True


def check_name(name: str) -> None:
    """Raises InvalidUnit naming the rule that the name breaks."""
    if _USUAL.fullmatch(name) and len(name) <= LONGEST_NAME:
        return
    if not name:
        raise InvalidUnit("a unit name cannot be empty")
    if len(name) > LONGEST_NAME:
        raise InvalidUnit(f"unit name {shown(name)} has {len(name)} characters; the most is {LONGEST_NAME}")
    stem, dot, kind = name.rpartition(".")
    rule = _broken_rule(stem, dot, kind)
    if rule:
        raise InvalidUnit(f"unit name {shown(name)} {rule}")


def _broken_rule(stem: str, dot: str, kind: str) -> str:
    if not dot:
        return "must contain a dot and a type, such as .service"
    if not kind:
        return "cannot end in a dot; give it a type, such as .service"
    if kind not in UNIT_TYPES:
        return f"ends in {kind!r}, which is no unit type; the types are {', '.join(sorted(UNIT_TYPES))}"
    if not stem:
        return f"has nothing before .{kind}"
    if stem[0] in ".@":
        return f"cannot start with {stem[0]!r}"
    strange = _BODY.sub("", stem)
    if strange:
        return f"holds {strange[0]!r}; letters, digits and : - _ . \\ @ are allowed"
    if "@" in stem and kind not in TEMPLATE_TYPES:
        return f"holds '@', but a {kind} cannot be a template or an instance; only {', '.join(sorted(TEMPLATE_TYPES))} can"
    return ""


def normalize(name: str) -> str:
    """The name with `.service` added unless it ends in a type that fleetctl knows."""
    return name if name.endswith(SUFFIXES_KEPT) else f"{name}.service"


def is_template(name: str) -> bool:
    _, at, instance = name.rpartition(".")[0].partition("@")
    return at != "" and instance == ""


def is_instance(name: str) -> bool:
    return instance_of(name) != ""


def instance_of(name: str) -> str:
    """`1` of foo@1.service; "" of a template or a plain unit."""
    return name.rpartition(".")[0].partition("@")[2]


def prefix_of(name: str) -> str:
    """`foo` of foo.service, foo@.service and foo@1.service."""
    return stem_of(name).partition("@")[0]


def stem_of(name: str) -> str:
    """The name without its type: `foo@1` of foo@1.service."""
    stem, dot, _ = name.rpartition(".")
    return stem if dot else name


def template_of(name: str) -> str:
    """`foo@.service` of foo@1.service, and of itself; "" of a plain unit."""
    stem, dot, kind = name.rpartition(".")
    prefix, at, _ = stem.partition("@")
    return f"{prefix}@.{kind}" if dot and at else ""
