"""Which certificate which host is answered with. Pure.

A certificate that names the host itself comes first, then one whose wildcard covers it, then the first there is: browsers then complain,
but get an answer. Where apps answer under any domain (hosts such as `hello.*`), every domain that a certificate names gets its own.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Protocol

import msgspec

from argosy.router.naming import MAX_HOST, check_domain


class Certificate(msgspec.Struct, frozen=True):
    """One that may be served. `name` is the pair's in the folder, `names` are the host names and wildcards in it, `until` is when it ends
    (Unix time). `cert` and `key` are its files, below the router's folder."""

    name: str
    names: tuple[str, ...]
    until: float
    cert: str
    key: str


class Shelved(msgspec.Struct, frozen=True):
    """What may be served, valid ones first and by name, and what is wrong with any, in words."""

    certificates: tuple[Certificate, ...] = ()
    complaints: tuple[str, ...] = ()


class Certificates(Protocol):
    """Where they come from. Both methods block."""

    def look(self, now: float) -> Shelved | None:
        """What may be served, if that may have changed since the last look."""

    def tidy(self, config: str) -> None:
        """Lets go of files that are neither on the shelf nor named in the configuration that is served."""


class Face(msgspec.Struct, frozen=True):
    """Hosts that are answered alike: with this certificate, None where there is none."""

    hosts: tuple[str, ...]
    certificate: Certificate | None = None


_WILDCARD = re.compile(r"\*\.(.+)", re.ASCII)
ANY = ".*"


def check_name(name: str) -> str:
    """The rule that a name in a certificate breaks, in words; "" for a host name or a wildcard such as *.example.org."""
    wildcard = _WILDCARD.fullmatch(name)
    return check_domain(wildcard.group(1) if wildcard else name) if name else "it is empty"


def choose(host: str, certificates: Sequence[Certificate]) -> Certificate | None:
    """The certificate for a host; None when there is none at all."""
    wildcard = f"*.{host.partition('.')[2]}"
    for name in (host, wildcard):
        for certificate in certificates:
            if name in certificate.names:
                return certificate
    return certificates[0] if certificates else None


def faces(app: str, hosts: Sequence[str], certificates: Sequence[Certificate], apps: Collection[str] = ()) -> tuple[Face, ...]:
    """An app's hosts by certificate. `apps` are the names of all apps: a host that belongs to one with a longer name is left to it."""
    if not certificates:
        return (Face(tuple(hosts)),)
    groups: dict[str, tuple[Certificate, list[str]]] = {}
    fixed = [host for host in hosts if not host.endswith(ANY)]
    open_ended = [host for host in hosts if host.endswith(ANY)]
    for host in [*fixed, *open_ended]:
        certificate = certificates[0] if host in open_ended else choose(host, certificates)
        assert certificate is not None
        groups.setdefault(certificate.name, (certificate, []))[1].append(host)
    if open_ended:
        for host in sorted(_covered(app, certificates)):
            certificate = choose(host, certificates)
            if certificate is not None and certificate is not certificates[0] and not _belongs_to_another(host, app, apps):
                groups.setdefault(certificate.name, (certificate, []))[1].append(host)
    return tuple(Face(tuple(dict.fromkeys(found)), certificate) for certificate, found in groups.values())


def _covered(app: str, certificates: Sequence[Certificate]) -> set[str]:
    """The hosts that begin with the app's name and that some certificate covers."""
    label = app.partition(".")[0]
    found = set()
    for certificate in certificates:
        for name in certificate.names:
            wildcard = _WILDCARD.fullmatch(name)
            host = f"{label}.{wildcard.group(1)}" if wildcard else name
            if host.startswith(f"{app}.") and len(host) <= MAX_HOST:
                found.add(host)
    return found


def _belongs_to_another(host: str, app: str, apps: Collection[str]) -> bool:
    labels = host.split(".")
    longer = (".".join(labels[:count]) for count in range(app.count(".") + 2, len(labels) + 1))
    return any(name in apps for name in longer)
