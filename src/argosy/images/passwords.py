"""Users and their passwords: an htpasswd file of bcrypt hashes, read again when it changes.

A check of bcrypt takes a good part of a processor for tens of milliseconds. So checks run in threads, few at once; a password that was
right is remembered for a minute (as a keyed hash, and only as long as the file has the same line), so that a pull of many layers costs one
check; and whoever sends wrong ones waits longer each time.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import re
import secrets
from collections import OrderedDict
from pathlib import Path

import bcrypt
import msgspec

from argosy.errors import InvalidInput, TooLarge
from argosy.reconcile import Clock

log = logging.getLogger(__name__)

CHECKS_AT_ONCE = 2
WAITING_AT_MOST = 256
"""Checks that may wait for their turn; beyond it, clients are told to come back."""

REMEMBERED_SECONDS = 60.0
REMEMBERED_AT_MOST = 1024
LOOK_SECONDS = 1.0
"""How old the knowledge of the file may be."""

FREE_FAILURES = 3
LONGEST_DELAY = 10.0
LONGEST_QUEUE = 60.0
"""Seconds of delay that one address may have booked; beyond it, it is told to come back."""

FORGIVEN_AFTER = 300.0
OFFENDERS_AT_MOST = 4096
LONGEST_PASSWORD = 72
"""Bytes that bcrypt looks at; htpasswd leaves out the rest as well."""

_HASH = re.compile(r"\$2[aby]\$(0[4-9]|1[0-7])\$[./A-Za-z0-9]{53}")
_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")


class Busy(TooLarge):
    """Too many passwords wait for being checked."""

    status = 429


def parse_htpasswd(text: str, where: str) -> dict[str, bytes]:
    """User → bcrypt hash. Raises InvalidInput naming the line."""
    users: dict[str, bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        user, colon, hashed = line.strip().partition(":")
        if not colon or not _USER.fullmatch(user):
            raise InvalidInput(f"{where} line {number} names no user", remedy=f"make lines with htpasswd -B -c {where} USER")
        if not _HASH.fullmatch(hashed):
            raise InvalidInput(f"{where} line {number}: {user}'s hash is not bcrypt", remedy=f"make it anew: htpasswd -B {where} {user}")
        if user in users:
            raise InvalidInput(f"{where} line {number}: {user} is there twice")
        users[user] = hashed.encode()
    if not users:
        raise InvalidInput(f"{where} names no user", remedy=f"htpasswd -B -c {where} USER")
    return users


class Offender(msgspec.Struct):
    """An address that sent wrong passwords: how many in a row, when last, and when its next one is looked at (monotonic seconds)."""

    failures: int = 0
    last: float = 0.0
    next_at: float = 0.0


class Passwords:
    """`check` says whether a password is a user's."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Raises InvalidInput for a file that cannot be read or used; later, one that is broken leaves the one before in force."""
        self._path = path
        self._clock = clock
        self._stamp, self._users = _read(path)
        self._looked = clock.monotonic()
        self._secret = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, float] = OrderedDict()
        self._offenders: OrderedDict[str, Offender] = OrderedDict()
        self._turn = asyncio.Semaphore(CHECKS_AT_ONCE)
        self._waiting = 0

    async def check(self, user: str, password: str, address: str) -> bool:
        """`address`: whom wrong passwords are held against. Raises Busy when too many are waiting."""
        await self._look()
        hashed = self._users.get(user)
        given = password.encode("utf-8", "surrogateescape")[:LONGEST_PASSWORD]
        mark = self._mark(user, given, hashed or b"")
        if self._remembered(mark):
            return True
        if self._waiting >= WAITING_AT_MOST:
            raise Busy("too many passwords wait for being checked", remedy="try again in a few seconds")
        delay = self._delay(address)
        self._waiting += 1
        try:
            await self._clock.sleep(delay)
            async with self._turn:
                if self._remembered(mark):
                    return True
                right = await asyncio.to_thread(_matches, given, hashed or self._anybody) and hashed is not None
        finally:
            self._waiting -= 1
        if right:
            self._remember(mark)
            self._offenders.pop(address, None)
        else:
            self._offend(address)
            log.warning("a wrong password from %s", address)
        return right

    def _mark(self, user: str, given: bytes, hashed: bytes) -> bytes:
        return hmac.digest(self._secret, b"\0".join((user.encode("utf-8", "surrogateescape"), hashed, given)), hashlib.sha256)

    def _remembered(self, mark: bytes) -> bool:
        until = self._right.get(mark)
        return until is not None and self._clock.monotonic() < until

    def _remember(self, mark: bytes) -> None:
        self._right[mark] = self._clock.monotonic() + REMEMBERED_SECONDS
        self._right.move_to_end(mark)
        while len(self._right) > REMEMBERED_AT_MOST:
            self._right.popitem(last=False)

    @property
    def _anybody(self) -> bytes:
        """What the password of a user who does not exist is compared with, so that it takes as long as any."""
        return next(iter(self._users.values()))

    def _delay(self, address: str) -> float:
        """Seconds until this password may be looked at. Those of an offender are looked at one after another."""
        now = self._clock.monotonic()
        offender = self._offenders.get(address)
        if offender is None or now - offender.last > FORGIVEN_AFTER:
            self._offenders.pop(address, None)
            return 0.0
        if offender.failures < FREE_FAILURES:
            return 0.0
        at = max(now, offender.next_at) + min(LONGEST_DELAY, 0.25 * 2.0 ** min(offender.failures - FREE_FAILURES, 16))
        if at - now > LONGEST_QUEUE:
            raise Busy("too many wrong passwords from this address", remedy="try again in a few minutes")
        offender.next_at = at
        return at - now

    def _offend(self, address: str) -> None:
        offender = self._offenders.setdefault(address, Offender())
        offender.failures += 1
        offender.last = self._clock.monotonic()
        self._offenders.move_to_end(address)
        while len(self._offenders) > OFFENDERS_AT_MOST:
            self._offenders.popitem(last=False)

    async def _look(self) -> None:
        """Reads the file again if it is another one."""
        now = self._clock.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        try:
            if await asyncio.to_thread(_stamp, self._path) == self._stamp:
                return
            self._stamp, self._users = await asyncio.to_thread(_read, self._path)
            log.info("%s has changed: %d users", self._path, len(self._users))
        except (OSError, InvalidInput) as error:
            log.warning("%s; who could log in before still can", error)


def _stamp(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino


def _read(path: Path) -> tuple[tuple[int, int, int], dict[str, bytes]]:
    try:
        stamp = _stamp(path)  # before reading: what is written meanwhile is read next time
        return stamp, parse_htpasswd(path.read_text(), str(path))
    except OSError as error:
        raise InvalidInput(f"cannot read the users of {path}: {error.strerror}", remedy=f"htpasswd -B -c {path} USER") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is no text in UTF-8") from error


def _matches(given: bytes, hashed: bytes) -> bool:
    try:
        return bcrypt.checkpw(given, hashed)
    except ValueError:  # a password with a zero byte, a hash that only looks like one
        return False
