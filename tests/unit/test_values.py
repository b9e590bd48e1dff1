from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.unit.values import FOREVER, boolean, count, exit_status, mode, signal_number, time_span, timeout

# What systemd 252 made of these in RestartSec=.
SPANS = [
    ("5", 5),
    ("0", 0),
    ("1min 30s", 90),
    ("1min30s", 90),
    ("30m", 1800),
    ("500ms", 0.5),
    ("3us", 0.000003),
    ("1µs", 0.000001),
    ("1.5", 1.5),
    (".5", 0.5),
    ("1.5ms", 0.0015),
    ("1.123456789", 1.123456),
    ("0.0000001", 0),
    ("5 5", 10),
    ("5s5", 10),
    ("1 .5", 1.5),
    ("2h3", 7203),
    ("2hr", 7200),
    ("1 d", 86400),
    ("3weeks", 1814400),
    ("1M", 2629800),
    ("1month", 2629800),
    ("1y1month", 31557600 + 2629800),
    ("+2", 2),
    ("infinity", FOREVER),
    (" infinity ", FOREVER),
    ("584y", 584 * 31557600),
]
NO_SPANS = [
    "",
    " ",
    "x",
    "s",
    "-5",
    "- 5",
    "5 parsecs",
    "5S",
    "1mo",
    "1.",
    "1..5",
    "1.5.2",
    "1s x",
    "infinity5",
    "9" * 20,
    "9" * 5000,
    "600000y",
    "18446744073709s",
]


@pytest.mark.parametrize(("text", "seconds"), SPANS)
def test_a_time_span_is_so_many_seconds(text: str, seconds: float) -> None:
    assert time_span(text) == pytest.approx(seconds, abs=1e-9)


@pytest.mark.parametrize("text", NO_SPANS)
def test_what_is_no_time_span(text: str) -> None:
    with pytest.raises(ValueError, match=r"time span|longer"):
        time_span(text)


@given(
    st.lists(
        st.tuples(st.integers(0, 999), st.sampled_from([("s", 1.0), ("min", 60.0), ("h", 3600.0), ("ms", 0.001), ("d", 86400.0)])),
        min_size=1,
    )
)
def test_the_terms_of_a_time_span_are_added(terms: list[tuple[int, tuple[str, float]]]) -> None:
    text = " ".join(f"{number}{unit}" for number, (unit, _) in terms)
    assert time_span(text) == pytest.approx(sum(number * factor for number, (_, factor) in terms))


def test_a_timeout_of_zero_is_none() -> None:
    assert timeout("0") == FOREVER
    assert timeout("2s") == 2


RIGHT = [
    *((boolean, text, True) for text in ("1", "yes", "Y", "true", "T", "on")),
    *((boolean, text, False) for text in ("0", "no", "N", "False", "f", "OFF")),
    (mode, "022", 0o022),
    (mode, "7777", 0o7777),
    (mode, "00000022", 0o022),
    (count, "3", 3),
    (count, "+4", 4),
    (count, "0x10", 16),
    (count, "010", 8),
    (count, "4294967295", 4294967295),
    (signal_number, "SIGTERM", 15),
    (signal_number, "INT", 2),
    (signal_number, "9", 9),
    (signal_number, "+5", 5),
    (signal_number, "015", 13),
    (signal_number, "64", 64),
    (signal_number, "RTMIN", 34),
    (signal_number, "SIGRTMIN+2", 36),
    (signal_number, "RTMIN+30", 64),
    (signal_number, "RTMAX-3", 61),
    (signal_number, "SIGSTKFLT", 16),
    (signal_number, "SIGIO", 29),
    (signal_number, "SYS", 31),
    (exit_status, "0", (0, None)),
    (exit_status, "255", (255, None)),
    (exit_status, "007", (7, None)),
    (exit_status, "15", (15, None)),
    (exit_status, "TEMPFAIL", (75, None)),
    (exit_status, "SIGKILL", (None, 9)),
    (exit_status, "RTMIN+1", (None, 35)),
]
WRONG = [
    *((boolean, text) for text in ("", "maybe", "2", "enabled")),
    *((mode, text) for text in ("", "9", "10000", "0x1", "-1")),
    *((count, text) for text in ("", "-1", "x", "5 ", "4294967296", "1_0", "٣", "9" * 5000)),
    *(
        (signal_number, text)
        for text in ("", "0", "65", "SIGFOO", "int", "SIG15", "SIGPOLL", "IOT", "RTMIN-1", "RTMAX+1", "RTMIN+31", "RTMIN+ 1")
    ),
    *((exit_status, text) for text in ("", "256", "-1", "tempfail", "foo")),
]


@pytest.mark.parametrize(("read", "text", "expected"), RIGHT)
def test_a_value_means(read: Callable[[str], object], text: str, expected: object) -> None:
    assert read(text) == expected


@pytest.mark.parametrize(("read", "text"), WRONG)
def test_a_value_that_breaks_its_rule_is_refused(read: Callable[[str], object], text: str) -> None:
    with pytest.raises(ValueError, match=r"no |nor |above"):
        read(text)
