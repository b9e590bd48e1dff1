"""The operator's certificates, kept for nginx: only what has been checked, under names made of the content, below the router's folder.

A pair is taken up when it is good. When it is not (a key that does not match, an expired certificate, a file that is only half written),
the last good pair of that name goes on, over restarts too. A pair whose files are removed is dropped. nginx never reads the
operator's folder, so nothing that happens there can keep it from starting.
"""

from __future__ import annotations

import contextlib
import logging
import os
import ssl
import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import msgspec

from argosy import files
from argosy.errors import InvalidInput
from argosy.router.naming import printable
from argosy.router.tls.pairs import MOST_PAIRS, SUFFIXES, Pair, Source, check_time, day, read, sources, understood
from argosy.router.tls.plan import Certificate, Shelved

log = logging.getLogger(__name__)

INDEX = "index.json"
SOON = 14 * 86_400.0
"""Seconds before its end from which on a certificate is said to expire."""

Print = tuple[tuple[object, ...], ...]


class Shelf:
    """`folder` is the operator's; `kept` is ours, below the folder that nginx runs in. Methods may be called from any thread; `look`
    takes a change up when the folder has stayed as it is since the look before."""

    def __init__(self, folder: Path, kept: Path) -> None:
        self._folder = folder
        self._kept = kept
        self._seen: Print | None = None
        self._settling: Print | None = None
        self._due = 0.0
        self._moments: list[float] = []
        self._told: frozenset[str] = frozenset()
        self._now: tuple[Certificate, ...] = ()
        self._lock = threading.Lock()

    def look(self, now: float) -> Shelved | None:
        with self._lock:  # a tidy meanwhile would remove what is just being taken up
            return self._look(now)

    def _look(self, now: float) -> Shelved | None:
        seen = self._print()
        fresh = self._seen is None
        if seen != self._seen and not fresh and seen != self._settling:
            self._settling = seen
            return None
        if seen == self._seen and now < self._due:
            return None
        self._seen = self._settling = seen
        return self._read(now)

    def tidy(self, config: str) -> None:
        with self._lock:
            self._tidy(config)

    def _tidy(self, config: str) -> None:
        wanted = {Path(file).name for certificate in self._now for file in (certificate.cert, certificate.key)}
        with contextlib.suppress(OSError):
            for path in self._kept.iterdir():
                if path.suffix in (".crt", ".key") and path.name not in wanted and path.stem not in config:
                    path.unlink()

    def _print(self) -> Print:
        try:
            with os.scandir(self._folder) as entries:
                return tuple(sorted(_print(entry) for entry in entries if entry.name.endswith(SUFFIXES)))
        except OSError as error:
            return ((error.errno,),)

    def _read(self, now: float) -> Shelved:
        index = self._index()
        self._moments = []
        try:
            listed = list(sources(self._folder))
        except OSError as error:
            known = {name: self._recall(digest) for name, digest in index.items()}
            found = {name: pair for name, pair in known.items() if pair is not None}
            complaints = [f"{self._folder} cannot be read: {error.strerror or error}; the certificates known before go on"]
        else:
            found, complaints = self._examined(listed, index, now)
        self._write_index({name: pair.digest for name, pair in found.items()})
        order = sorted(found, key=lambda name: (bool(check_time(found[name], now)), name))
        self._now = tuple(self._certificate(name, found[name]) for name in order)
        self._moments += [moment for pair in found.values() for moment in (pair.until, pair.until - SOON)]
        self._due = min((moment for moment in self._moments if moment > now), default=float("inf"))
        self._tell(complaints)
        return Shelved(self._now, tuple(complaints))

    def _examined(self, listed: Sequence[Source], index: Mapping[str, str], now: float) -> tuple[dict[str, Pair], list[str]]:
        found: dict[str, Pair] = {}
        complaints = []
        for source in listed[:MOST_PAIRS]:
            pair, reason = self._taken(source, self._recall(index.get(source.name, "")), now)
            if reason:
                complaints.append(f"certificate {printable(source.name)} {reason}")
            if pair is not None:
                found[source.name] = pair
        if len(listed) > MOST_PAIRS:
            complaints.append(f"{self._folder} holds {len(listed)} certificates: the first {MOST_PAIRS} by name are served")
        return found, complaints

    def _taken(self, source: Source, before: Pair | None, now: float) -> tuple[Pair | None, str]:
        """The pair to serve under the source's name, and what is wrong."""
        try:
            pair = read(source)
            reason = check_time(pair, now)
            self._moments.append(pair.begin)
            if not reason:
                self._keep(pair)
                return pair, f"expires on {day(pair.until)}" if pair.until - now < SOON else ""
            if before == pair:
                return pair, f"is served although {reason}: replace it"
        except InvalidInput as error:
            reason = str(error)
        except OSError as error:
            reason = f"it cannot be kept in {self._kept}: {error.strerror or error}"
        if before is None:
            return None, f"is not served: {reason}"
        return before, f"is not taken up: {reason}; the one before, until {day(before.until)}, goes on"

    def _keep(self, pair: Pair) -> None:
        """Raises OSError, and InvalidInput for a pair that OpenSSL would refuse to serve (such as one with a weak key)."""
        self._kept.mkdir(parents=True, exist_ok=True, mode=0o700)
        cert, key = self._kept / f"{pair.digest}.crt", self._kept / f"{pair.digest}.key"
        for path, content, mode in ((cert, pair.chain, 0o644), (key, pair.key, 0o600)):
            files.write(path, content, mode=mode)
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
        except ssl.SSLError as error:
            raise InvalidInput(f"OpenSSL refuses it: {(error.reason or str(error)).replace('_', ' ').lower()}") from error

    def _recall(self, digest: str) -> Pair | None:
        try:
            chain, key = (self._kept / f"{digest}.crt").read_bytes(), (self._kept / f"{digest}.key").read_bytes()
            pair = understood(chain, key, "the certificate", "its key")
        except (OSError, InvalidInput):
            return None
        return pair if pair.digest == digest else None

    def _certificate(self, name: str, pair: Pair) -> Certificate:
        place = f"{self._kept.name}/{pair.digest}"
        return Certificate(name, pair.names, pair.until, f"{place}.crt", f"{place}.key")

    def _index(self) -> Mapping[str, str]:
        try:
            return msgspec.json.decode((self._kept / INDEX).read_bytes(), type=dict[str, str])
        except (OSError, msgspec.DecodeError):
            return {}

    def _write_index(self, index: Mapping[str, str]) -> None:
        with contextlib.suppress(OSError):
            self._kept.mkdir(parents=True, exist_ok=True, mode=0o700)
            files.write(self._kept / INDEX, msgspec.json.encode(index), mode=0o600)

    def _tell(self, complaints: Collection[str]) -> None:
        served = [f"certificate {one.name} for {', '.join(one.names[:5])} is served until {day(one.until)}" for one in self._now]
        for level, sentences in ((logging.WARNING, complaints), (logging.INFO, served)):
            for sentence in sentences:
                if sentence not in self._told:
                    log.log(level, "%s", sentence)
        self._told = frozenset((*complaints, *served))


def _print(entry: os.DirEntry[str]) -> tuple[object, ...]:
    try:
        seen = entry.stat()
    except OSError as error:
        return entry.name, 0, 0, error.errno
    return entry.name, seen.st_mtime_ns, seen.st_size, seen.st_ino
