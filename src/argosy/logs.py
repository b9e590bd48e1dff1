"""What the long-running commands log to standard error: one line an event, nothing in it that a terminal would act on."""

from __future__ import annotations

import logging
import os

from argosy.terminal import printable

PLAIN = "%(message)s"
FULL = "%(levelname)s %(name)s: %(message)s"


class LineFormatter(logging.Formatter):
    """Escapes control characters in messages, so that what they quote cannot forge a line. A traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        return printable(super().formatMessage(record))

    def formatException(self, ei: object) -> str:  # noqa: N802
        return "\n".join(printable(line) for line in super().formatException(ei).split("\n"))  # type: ignore[arg-type]


def log_to_stderr(level: str, form: str = FULL) -> None:
    """Log Argosy's events from `level` on; of other libraries, whose requests and retries are no events here, warnings only (at debug: all
    but their own debugging). Under systemd the journal adds the time."""
    stamp = "" if form == PLAIN or os.environ.get("JOURNAL_STREAM") else "%(asctime)s "
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter(stamp + form))
    logging.basicConfig(level=logging.INFO if level == "debug" else max(logging.WARNING, _number(level)), handlers=[handler])
    logging.getLogger("argosy").setLevel(_number(level))


def _number(level: str) -> int:
    return logging.getLevelNamesMapping()[level.upper()]
