"""What placement reads from a unit's text."""

from __future__ import annotations

import pytest

from argosy.placement.jobs import Reading, read
from argosy.requirements import Requirements
from argosy.unit.parse import LARGEST_FILE, parse
from argosy.unit.text import unit_text

TABLE: list[tuple[str, str, str, Requirements, bool]] = [
    ("a plain service asks for nothing", "a.service", "[Service]\nExecStart=/bin/a\n", Requirements(), False),
    (
        "specifiers are replaced",
        "a@1.service",
        "[X-Fleet]\nConflicts=%p@*\nMachineOf=b@%i.service",
        Requirements(conflicts=("a@*",), peers=("b@1.service",)),
        False,
    ),
    ("global", "a.service", "[X-Fleet]\nGlobal=yes\n", Requirements(everywhere=True), False),
    ("never twice", "a.service", "[X-Argosy]\nOnDisconnect=stop\n", Requirements(stop_on_disconnect=True), False),
    (
        "bindings are no matter of placement",
        "a.service",
        "[Unit]\nBindsTo=b.service\n[X-Fleet]\nMachineOf=b.service\n",
        Requirements(peers=("b.service",)),
        False,
    ),
    ("a oneshot ends", "a.service", "[Service]\nType=oneshot\nExecStart=/bin/a\n", Requirements(), True),
    ("... unless it remains", "a.service", "[Service]\nType=oneshot\nRemainAfterExit=true\n", Requirements(), False),
    ("... or says otherwise later", "a.service", "[Service]\nType=oneshot\nType=simple\n", Requirements(), False),
]


@pytest.mark.parametrize(("sentence", "name", "text", "wanted", "ends"), TABLE)
def test_read(sentence: str, name: str, text: str, wanted: Requirements, ends: bool) -> None:
    found = read(name, text)
    assert (found.job.name, found.job.requirements, found.ends, found.error) == (name, wanted, ends, ""), sentence


ERRORS = [
    ("an option that nobody knows", "a.service", "[X-Fleet]\nNo=1\n", "unrecognized requirement"),
    ("options that exclude each other", "a.service", "[X-Fleet]\nGlobal=true\nMachineOf=b.service\n", "Global cannot be used with Peers"),
    ("a malformed glob", "a.service", "[X-Fleet]\nConflicts=[a\n", "[a"),
    ("a template", "a@.service", "[Service]\n", "template"),
    ("a name that leads elsewhere", "a/../b.service", "[Service]\n", "holds '/'"),
    ("a text that is larger than a unit may be", "a.service", "#" * (LARGEST_FILE + 1), "the most is"),
    ("... in bytes", "a.service", "#" + "é" * (LARGEST_FILE // 2), "the most is"),
    ("a binary", "a.service", "X-\0", "NUL"),
]


@pytest.mark.parametrize(("sentence", "name", "text", "words"), ERRORS)
def test_what_cannot_be_read_is_an_error_and_asks_for_nothing(sentence: str, name: str, text: str, words: str) -> None:
    found = read(name, text)
    assert words in found.error, sentence
    assert found == Reading(found.job, error=found.error)
    assert found.job.requirements == Requirements()


def test_the_hash_is_the_one_that_agents_report() -> None:
    text = "[Service]\n# a comment\nExecStart=/bin/a\n"
    assert unit_text(text).hash == parse(text).hash
    assert len(unit_text("\0").hash) == 40
