"""Which keys make a route: the rules for an app, an instance and an address. Pure, and the only door to the template.

Keys come from anybody who may write to /services/web/, so every part is checked against a small alphabet before it is used:

app       host name labels joined by dots: a-z 0-9 - _ ; each begins and ends with a letter or digit, at most 63; 200 in all
instance  letters, digits and @ . _ : + = - ; at most 200
address   IPV4:PORT, [IPV6]:PORT or HOSTNAME:PORT, port 1 to 65535
"""

from __future__ import annotations

import functools
import ipaddress
import re

import msgspec

from argosy.errors import InvalidInput

MAX_APP = 200
MAX_INSTANCE = 200
MAX_HOST = 253

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?", re.ASCII)
_HOST_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?", re.ASCII)
_INSTANCE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9@._:+=-]*", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*", re.ASCII)
_PORT = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)


class Address(msgspec.Struct, frozen=True):
    """Where something listens. `host` is an IPv4 address, an IPv6 address without brackets, or a host name in lower case."""

    host: str
    port: int
    literal: bool

    def at(self, ip: str) -> str:
        """ip:port as nginx writes it."""
        return f"[{ip}]:{self.port}" if ":" in ip else f"{ip}:{self.port}"

    def __str__(self) -> str:
        return self.at(self.host)


def printable(text: str, most: int = 200) -> str:
    """The text on one line and not endless: for logs, reports and errors that quote what others wrote."""
    short = text if len(text) <= most else f"{text[: most - 1]}…"
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in short)


@functools.lru_cache(65_536)
def check_app(app: str) -> str:
    """The rule that an app's name breaks, in words; "" for a good one."""
    if not app:
        return "an app has a name: /services/web/<app>/<instance>"
    if len(app) > MAX_APP:
        return f"an app's name has at most {MAX_APP} characters, this one {len(app)}"
    if not all(_LABEL.fullmatch(label) for label in app.split(".")):
        rule = (
            "an app's name is part of a host name: labels of a-z, 0-9, - and _ joined by dots, each at most 63 long and beginning and "
            "ending with a letter or digit"
        )
        better = app.strip().lower()
        return rule if better == app or check_app(better) else f"{rule}; write {better}"
    return ""


@functools.lru_cache(65_536)
def check_instance(instance: str) -> str:
    """The rule that an instance's name breaks, in words; "" for a good one."""
    if not instance:
        return "an instance has a name: /services/web/<app>/<instance>"
    if len(instance) > MAX_INSTANCE:
        return f"an instance's name has at most {MAX_INSTANCE} characters, this one {len(instance)}"
    if not _INSTANCE.fullmatch(instance):
        return "an instance's name holds only letters, digits and @ . _ : + = - (and begins with a letter, digit or _)"
    return ""


def check_domain(domain: str) -> str:
    """The rule that the operator's domain breaks, in words; "" for a good one (empty: any)."""
    if not domain:
        return ""
    if len(domain) > MAX_HOST or not all(_LABEL.fullmatch(label) for label in domain.split(".")):
        return "a domain is lower-case labels of letters, digits and hyphens joined by dots"
    return ""


@functools.lru_cache(65_536)
def parse_address(text: str) -> Address:
    """IPV4:PORT, [IPV6]:PORT or HOSTNAME:PORT. Raises InvalidInput that names the text and the rule."""
    if "://" in text:
        raise _url(text)
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise _bad(text, "it is not HOST:PORT")
    if not _PORT.fullmatch(port) or int(port) > 65535:
        raise _bad(text, "the port is not a number from 1 to 65535")
    if host.startswith("[") and host.endswith("]"):
        return Address(_ip(text, host[1:-1], 6), int(port), True)
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return Address(_ip(text, host, 4), int(port), True)
    if len(host) > MAX_HOST or not all(_HOST_LABEL.fullmatch(label) for label in labels):
        raise _bad(text, "the host is neither an IPv4 address, an [IPv6] address nor a host name")
    return Address(host.lower(), int(port), False)


def _ip(text: str, host: str, version: int) -> str:
    try:
        ip = ipaddress.IPv4Address(host) if version == 4 else ipaddress.IPv6Address(host)
    except ValueError as error:
        raise _bad(text, f"the host is not an IPv{version} address") from error
    if isinstance(ip, ipaddress.IPv6Address) and ip.scope_id is not None:
        raise _bad(text, "the host is an IPv6 address with a zone")
    reason = check_ip(ip)
    if reason:
        raise _bad(text, reason)
    return str(ip)


def check_ip(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """Addresses that no instance can have: the unspecified one, multicast, broadcast, and those of one link only."""
    if ip.is_unspecified:
        return f"{ip} is every address and none: announce the machine's own"
    if ip.is_link_local:
        return f"{ip} is another place on every link (and a cloud's own): announce the machine's own"
    if ip.is_multicast or str(ip) == "255.255.255.255":
        return f"{ip} is not the address of one machine"
    return ""


def _url(text: str) -> InvalidInput:
    """The error for a URL: it says what to write where that is an address."""
    scheme, _, rest = text.partition("://")
    host = rest.partition("/")[0].rpartition("@")[2]
    port = {"http": ":80", "https": ":443"}.get(scheme.lower(), "")
    for guess in (host, f"{host}{port}"):
        try:
            better = parse_address(guess)
        except InvalidInput:
            continue
        return InvalidInput(f"{printable(text, 100)!r} is a URL, not an address", remedy=f"write {better}")
    return _bad(text, "it is a URL")


def _bad(text: str, rule: str) -> InvalidInput:
    return InvalidInput(f"{printable(text, 100)!r} is no address: {rule}", remedy="write 10.0.0.1:3000, [fd00::1]:3000 or name:3000")
