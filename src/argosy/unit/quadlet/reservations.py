"""What a Quadlet container takes of its machine: the host's ports, memory and CPUs, as far as the file says them.

A value that only the machine knows (it holds a variable or a machine's specifier), or that cannot be read, reserves nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from argosy.errors import InvalidUnit
from argosy.requirements import Port
from argosy.unit.parse import UnitFile
from argosy.unit.quadlet.container import published
from argosy.unit.quadlet.reading import arguments, each, last
from argosy.unit.specifiers import expand_name

SECTION = "Container"
KEYS = ("PublishPort", "Memory", "PodmanArgs", "MemoryMax", "CPUQuota")
"""The keys that are read here, in [Container] and [Service]."""

_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,9})?)\s*([kmgtp]?)(?:i?b)?", re.IGNORECASE)
_NUMBER = re.compile(r"\d{1,9}(?:\.\d{1,9})?")
_ANY_ADDRESS = ("0.0.0.0", "::")
_LAST_PORT = 65535


def ports(name: str, file: UnitFile) -> tuple[Port, ...]:
    """Return what PublishPort= takes of the host. Raises InvalidUnit for what is no port."""
    found: dict[Port, None] = {}
    for value in each(file, SECTION, "PublishPort"):
        address, host, protocol = published(expand_name(value, name))
        first, _, end = host.partition("-")
        if first and 0 < int(first) <= int(end or first) <= _LAST_PORT:
            found[Port(int(first), int(end or first), protocol, "" if address in _ANY_ADDRESS else address)] = None
    return tuple(found)


def memory(name: str, file: UnitFile) -> int:
    """Return the least of Memory=, --memory in PodmanArgs= and MemoryMax= in [Service], in bytes; 0 if none says anything."""
    stated = [last(file, SECTION, "Memory") or "", *_podman(file, "--memory", "-m"), file.last("Service", "MemoryMax") or ""]
    sizes = [_SIZE.fullmatch(expand_name(value, name).strip()) for value in stated]
    found = [int(float(size[1]) * 1024 ** " kmgtp".index(size[2].lower() or " ")) for size in sizes if size]
    return min(filter(None, found), default=0)


def cpus(name: str, file: UnitFile) -> float:
    """Return the least of --cpus in PodmanArgs= and CPUQuota= in [Service], as a number of CPUs; 0 if none says anything."""
    quota = (file.last("Service", "CPUQuota") or "").strip()
    stated = [(value, 1) for value in _podman(file, "--cpus")]
    if quota.endswith("%"):
        stated.append((quota[:-1].strip(), 100))
    read = ((expand_name(value, name), parts) for value, parts in stated)
    return min((float(value) / parts for value, parts in read if _NUMBER.fullmatch(value) and float(value)), default=0.0)


def _podman(file: UnitFile, *flags: str) -> Iterator[str]:
    """Yield the values of flags in PodmanArgs=, which follow them or a `=`."""
    try:
        words = arguments(file, SECTION, "PodmanArgs")
    except InvalidUnit:
        return
    for at, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag in flags:
            yield value if equals else words[at + 1] if at + 1 < len(words) else ""
