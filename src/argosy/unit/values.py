"""Single values as systemd 252 writes them: time spans, booleans, modes, signals and exit statuses.

Each function raises ValueError with the rule that the text breaks; systemd ignores such an assignment with a warning.
"""

from __future__ import annotations

import math
import re
from contextlib import suppress

from argosy.unit.names import shown

FOREVER = math.inf
_MOST = 2**64 - 1
_UNITS = {
    "seconds": 1_000_000,
    "second": 1_000_000,
    "sec": 1_000_000,
    "s": 1_000_000,
    "minutes": 60_000_000,
    "minute": 60_000_000,
    "min": 60_000_000,
    "months": 2_629_800_000_000,
    "month": 2_629_800_000_000,
    "M": 2_629_800_000_000,
    "msec": 1_000,
    "ms": 1_000,
    "m": 60_000_000,
    "hours": 3_600_000_000,
    "hour": 3_600_000_000,
    "hr": 3_600_000_000,
    "h": 3_600_000_000,
    "days": 86_400_000_000,
    "day": 86_400_000_000,
    "d": 86_400_000_000,
    "weeks": 604_800_000_000,
    "week": 604_800_000_000,
    "w": 604_800_000_000,
    "years": 31_557_600_000_000,
    "year": 31_557_600_000_000,
    "y": 31_557_600_000_000,
    "usec": 1,
    "us": 1,
    "µs": 1,
    "μs": 1,
}
"""Microseconds. The first that fits is taken, so the order matters: `1mo` is a minute and an `o` too many."""

_TERM = re.compile(
    r"[ \t\r\n]*(?:\+?(?P<whole>[0-9]{1,20})(?:\.(?P<part>[0-9]+))?|\.(?P<only>[0-9]+))(?P<unit>[ \t\r\n]*(?:" + "|".join(_UNITS) + r")?)"
)
_SPAN_RULE = "a time span is written such as 90, 1min 30s, 500ms, 1.5h or infinity"


def _statuses(text: str) -> dict[str, int]:
    return {name: int(status) for name, _, status in (word.partition("=") for word in text.split())}


EXIT_STATUSES = _statuses("""
    SUCCESS=0 FAILURE=1 INVALIDARGUMENT=2 NOTIMPLEMENTED=3 NOPERMISSION=4 NOTINSTALLED=5 NOTCONFIGURED=6 NOTRUNNING=7 USAGE=64
    DATAERR=65 NOINPUT=66 NOUSER=67 NOHOST=68 UNAVAILABLE=69 SOFTWARE=70 OSERR=71 OSFILE=72 CANTCREAT=73 IOERR=74 TEMPFAIL=75
    PROTOCOL=76 NOPERM=77 CONFIG=78 CHDIR=200 NICE=201 FDS=202 EXEC=203 MEMORY=204 LIMITS=205 OOM_ADJUST=206 SIGNAL_MASK=207 STDIN=208
    STDOUT=209 CHROOT=210 IOPRIO=211 TIMERSLACK=212 SECUREBITS=213 SETSCHEDULER=214 CPUAFFINITY=215 GROUP=216 USER=217
    CAPABILITIES=218 CGROUP=219 SETSID=220 CONFIRM=221 STDERR=222 PAM=224 NETWORK=225 NAMESPACE=226 NO_NEW_PRIVILEGES=227 SECCOMP=228
    SELINUX_CONTEXT=229 PERSONALITY=230 APPARMOR=231 ADDRESS_FAMILIES=232 RUNTIME_DIRECTORY=233 CHOWN=235 SMACK_PROCESS_LABEL=236
    KEYRING=237 STATE_DIRECTORY=238 CACHE_DIRECTORY=239 LOGS_DIRECTORY=240 CONFIGURATION_DIRECTORY=241 NUMA_POLICY=242 CREDENTIALS=243
    BPF=244 EXCEPTION=255
""")
TYPES = ("simple", "exec", "oneshot", "notify")
TYPES_NOT_HONOURED = ("forking", "dbus", "idle")
ACTIONS = (
    *("none", "reboot", "reboot-force", "reboot-immediate", "poweroff", "poweroff-force", "poweroff-immediate"),
    *("exit", "exit-force"),
)
"""What SuccessAction= and its like may say in systemd 252."""
RESTARTS = ("no", "on-success", "on-failure", "on-abnormal", "on-watchdog", "on-abort", "always")
KILL_MODES = ("control-group", "mixed", "process", "none")
NOTIFY_ACCESSES = ("none", "main", "exec", "all")
SIGNALS = (
    *("HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM", "STKFLT"),
    *("CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS"),
)
"""Linux's signals from 1 on, by the names that systemd knows."""
_FIRST_REALTIME = 34
_LAST_REALTIME = 64


def time_span(text: str) -> float:
    """Seconds; FOREVER for `infinity`. A number without a unit is seconds; terms are added up."""
    stripped = text.strip(" \t\r\n")
    if stripped == "infinity":
        return FOREVER
    total = 0
    at = 0
    while at < len(stripped):
        term = _TERM.match(stripped, at)
        if term is None:
            raise ValueError(f"{shown(text)}: {_SPAN_RULE}")
        at = term.end()
        unit = term["unit"]
        if not unit and at < len(stripped):
            raise ValueError(f"{shown(text)}: {_SPAN_RULE}")
        factor = _UNITS.get(unit.strip(" \t\r\n"), 1_000_000)
        whole = int(term["whole"] or 0)
        total += _microseconds(whole, term["part"] or term["only"] or "", factor)
        if whole >= _MOST // factor or total >= _MOST:
            raise ValueError(f"{shown(text)} is longer than systemd can count")
    if not stripped:
        raise ValueError(f"nothing: {_SPAN_RULE}")
    return total / 1_000_000


def _microseconds(whole: int, part: str, unit: int) -> int:
    total = whole * unit
    for digit in part:
        unit //= 10
        total += int(digit) * unit
    return total


def timeout(text: str) -> float:
    """A time span in which 0 stands for FOREVER, as in the timeouts of services."""
    return time_span(text) or FOREVER


def boolean(text: str) -> bool:
    if text.lower() in ("1", "yes", "y", "true", "t", "on"):
        return True
    if text.lower() in ("0", "no", "n", "false", "f", "off"):
        return False
    raise ValueError(f"{shown(text)} is neither yes nor no")


def mode(text: str) -> int:
    """File mode bits, in octal."""
    if not re.fullmatch(r"[0-7]+", text) or int(text, 8) > 0o7777:
        raise ValueError(f"{shown(text)} is no file mode of up to four octal digits, such as 0022")
    return int(text, 8)


def count(text: str) -> int:
    return _integer(text, 2**32 - 1)


def _integer(text: str, most: int) -> int:
    """As C writes integers: decimal, 0x hexadecimal, 0 or 0o octal, 0b binary; a plus sign may stand before."""
    number = -1
    if re.fullmatch(r"[0-9A-Za-z]+", digits := text.removeprefix("+")):
        octal = len(digits) > 1 and digits[0] == "0" and digits.isdigit()
        with suppress(ValueError):
            number = int(digits, 8 if octal else 0)
    if not 0 <= number <= most:
        raise ValueError(f"{shown(text)} is no whole number from 0 to {most}")
    return number


def signal_number(text: str) -> int:
    """`SIGTERM`, `TERM`, `15`, `RTMIN+3`, `RTMAX-1` (the numbers are Linux's)."""
    name = text.removeprefix("SIG")
    number = 0
    if name in SIGNALS:
        number = SIGNALS.index(name) + 1
    elif realtime := re.fullmatch(r"RTM(IN|AX)(?:([+-])([0-9]{1,2}))?", name):
        base, sign = (_FIRST_REALTIME, "+") if realtime[1] == "IN" else (_LAST_REALTIME, "-")
        if realtime[2] in (None, sign):
            number = base + int(f"{sign}{realtime[3] or 0}")
        number = number if _FIRST_REALTIME <= number <= _LAST_REALTIME else 0
    elif name == text:
        with suppress(ValueError):
            number = _integer(text, _LAST_REALTIME)
    if not number:
        raise ValueError(f"{shown(text)} is no signal; write it such as SIGTERM, INT, 15 or RTMIN+3")
    return number


def exit_status(text: str) -> tuple[int | None, int | None]:
    """An exit status (0 to 255 or a name such as TEMPFAIL), or a signal: one of the two is None."""
    if text in EXIT_STATUSES:
        return EXIT_STATUSES[text], None
    with suppress(ValueError):
        return _integer(text, 255), None
    try:
        return None, signal_number(text)
    except ValueError:
        raise ValueError(f"{shown(text)} is neither an exit status (0 to 255, or a name such as TEMPFAIL) nor a signal") from None
