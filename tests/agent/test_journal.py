"""Entries of the journal become lines."""

from __future__ import annotations

import pytest

from argosy.agent.journal import log_lines
from argosy.model import LogLine


@pytest.mark.parametrize(
    ("sentence", "entry", "expected"),
    [
        (
            "a plain entry is a line",
            b'{"MESSAGE":"hello","__REALTIME_TIMESTAMP":"1700000000250000","SYSLOG_IDENTIFIER":"app","_PID":"42","_COMM":"sh"}\n',
            [LogLine(1700000000.25, "hello", "app", 42)],
        ),
        ("the program's name serves where no identifier is", b'{"MESSAGE":"x","_COMM":"sh"}', [LogLine(0.0, "x", "sh")]),
        ("several lines in one entry are several", b'{"MESSAGE":"a\\nb"}', [LogLine(0.0, "a"), LogLine(0.0, "b")]),
        ("bytes that are no text come as numbers", b'{"MESSAGE":[97,255,98]}', [LogLine(0.0, "a\N{REPLACEMENT CHARACTER}b")]),
        ("a field given twice is a list", b'{"MESSAGE":"x","SYSLOG_IDENTIFIER":["a","b"],"_PID":["1","2"]}', [LogLine(0.0, "x")]),
        ("an entry without a message is none", b'{"_PID":"1"}', []),
        ("nor is one that journalctl found too long", b'{"MESSAGE":null}', []),
        ("nor what is no JSON", b"-- No entries --\n", []),
    ],
)
def test_log_lines(sentence: str, entry: bytes, expected: list[LogLine]) -> None:
    assert log_lines(entry) == expected, sentence
