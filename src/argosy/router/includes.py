"""The operator's own nginx files: which are included, and which are left out because nginx refuses the configuration with them."""

from __future__ import annotations

import glob
import hashlib
import logging
import os
import re
from collections.abc import Awaitable, Callable, Sequence

from argosy.errors import RuntimeFailed
from argosy.router.naming import printable
from argosy.router.tuning import setting_of

log = logging.getLogger(__name__)

Signature = tuple[int, int]
Attempt = Callable[[tuple[str, ...]], Awaitable[str]]
"""Serves a configuration that includes these files and returns it. Raises RuntimeFailed if nginx refuses it."""

MOST = 200

_DUPLICATE = re.compile(r'"(\w+)" directive is duplicate')


class Includes:
    """`patterns` are absolute paths, which may have wildcards. `chosen` are the files to include, `complaints` what is left out and why."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = tuple(patterns)
        self._found: dict[str, Signature] = {}
        self._faulty: dict[str, tuple[Signature, str]] = {}

    @property
    def chosen(self) -> tuple[str, ...]:
        return tuple(file for file in self._found if file not in self._faulty)

    @property
    def complaints(self) -> tuple[str, ...]:
        return tuple(f"include {printable(file)} is left out: {reason}" for file, (_, reason) in sorted(self._faulty.items()))

    def mark(self, files: Sequence[str]) -> str:
        """Return a comment that differs when one of the files has changed, so that nginx reads it anew."""
        if not files:
            return ""
        state = repr([(file, self._found.get(file)) for file in files])
        return f"# the included files are as of {hashlib.sha256(state.encode()).hexdigest()[:16]}\n"

    def look(self) -> bool:
        """Return True if files came, went or changed since the last look. One left out is chosen again once it has changed. Blocks."""
        files = [file for pattern in self._patterns for file in (sorted(glob.glob(pattern)) if glob.has_magic(pattern) else [pattern])]
        found = {file: _signature(file) for file in dict.fromkeys(files[:MOST]) if file.isprintable()}
        changed = found != self._found
        self._found = found
        self._faulty = {file: known for file, known in self._faulty.items() if found.get(file) == known[0]}
        return changed

    async def isolate(self, error: RuntimeFailed, attempt: Attempt) -> str:
        """Serve without the files that are at fault for `error`, and return that configuration. Raises `error` if none is."""
        files = self.chosen
        if not files:
            raise error
        try:
            config = await attempt(())
        except RuntimeFailed:
            raise error from None
        kept: tuple[str, ...] = ()
        for file in files:
            try:
                config = await attempt((*kept, file))
            except RuntimeFailed as refusal:
                self._faulty[file] = self._found[file], _reason(refusal.message)
                log.error("include %s is left out: %s", printable(file), self._faulty[file][1])
            else:
                kept = (*kept, file)
        return config


def _reason(message: str) -> str:
    """nginx's reason, with the setting to use in place of a directive that the router sets."""
    duplicate = _DUPLICATE.search(message)
    setting = setting_of(duplicate[1]) if duplicate else ""
    return f'{message} (set it by [router] settings = "{setting}=...")' if setting else message


def _signature(file: str) -> Signature:
    try:
        status = os.stat(file)
    except OSError:
        return 0, -1
    return status.st_mtime_ns, status.st_size
