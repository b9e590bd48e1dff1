"""One value for each text: what it says, that it is read once, and that it never raises."""

from __future__ import annotations

import tracemalloc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.errors import InvalidUnit
from argosy.requirements import NOTHING, Requirements
from argosy.unit.options import is_oneshot, requirements
from argosy.unit.parse import LARGEST_FILE, parse
from argosy.unit.text import SHORT, asks_nothing, unit_text

SERVICE = "[Service]\nExecStart=/bin/app\n"

MEANINGS = [
    # (sentence, text, oneshot, ends, retries, kind)
    ("a service", SERVICE, False, False, True, ""),
    ("... that is not started again", SERVICE + "Restart=no\n", False, False, False, ""),
    ("a job", SERVICE + "Type=oneshot\n", True, True, False, ""),
    ("... that is tried again", SERVICE + "Type=oneshot\nRestart=on-failure\n", True, True, True, ""),
    ("... that remains", SERVICE + "Type=oneshot\nRemainAfterExit=yes\n", True, False, False, ""),
    ("a container", "[Container]\nImage=i\n", False, False, True, "Container"),
    ("a volume", "[Volume]\n", True, False, True, "Volume"),
    ("nothing that can be read", "\0", False, False, True, ""),
]


@pytest.mark.parametrize(("sentence", "text", "oneshot", "ends", "retries", "kind"), MEANINGS, ids=[row[0] for row in MEANINGS])
def test_what_a_text_says(sentence: str, text: str, oneshot: bool, ends: bool, retries: bool, kind: str) -> None:
    found = unit_text(text)
    assert (found.oneshot, found.ends, found.retries, found.kind) == (oneshot, ends, retries, kind), sentence


def test_units_with_equal_texts_share_one_value_and_each_has_its_own_requirements() -> None:
    text = "[Unit]\nDescription=a %i\nBindsTo=app@%i.service\nAfter=app@%i.service\n[X-Fleet]\nMachineOf=app@%i.service\n"
    found = unit_text(text)
    assert unit_text("".join(list(text))) is found
    assert found.description == "a %i"
    assert found.requirements("side@1.service").peers == ("app@1.service",)
    assert found.requirements("side@2.service").binds_to == ("app@2.service",)
    assert found.dependencies("side@2.service", "After") == ("app@2.service",)
    assert found.refusal("app@2.service") is not None, "it would have to follow itself"
    assert found.refusal("side@2.service") is None


def test_a_unit_that_must_follow_itself_is_refused_though_others_share_its_text() -> None:
    found = unit_text("[X-Fleet]\nMachineOf=a.service\n")
    assert found.refusal("b.service") is None
    assert "follow itself" in str(found.refusal("a.service"))
    assert found.requirements("a.service") == NOTHING


@pytest.mark.parametrize("text", ["\0", "\ud800", "#" * (LARGEST_FILE + 1)], ids=["NUL", "surrogate", "too large"])
def test_what_cannot_be_read_is_told_and_stops_nobody(text: str) -> None:
    found = unit_text(text)
    assert found.unreadable is not None
    assert found.refusal("a.service") is found.unreadable
    assert found.requirements("a.service") == NOTHING
    assert len(found.hash) == 40
    assert found.hash != unit_text(text + " ").hash
    assert (found.file.options, found.file.errors[0].message) == ((), str(found.unreadable))
    assert not asks_nothing(text) or len(text) < SHORT


LINES = """
    [Unit] [Service] [X-Fleet] [X-Argosy] [Container] [Volume] Image=i Volume=d@.volume:/d Network=n.container BindsTo=a@%i.service junk
    After=b.service Requires=d.volume Type=oneshot RemainAfterExit=yes ExecStart=/bin/%i MachineOf=a@1.service MachineOf=%p.service A=\\
    Conflicts=a@*.service Global=%i Global=yes Keys=write Keys=no MachineMetadata=a=%n Replaces=x@* MachineID=% Nonsense=1
    OnDisconnect=stop OnDisconnect=
"""
NAMES = ["a@1.service", "a@yes.service", "web.service", "x@2.service"]


def asked(name: str, text: str) -> Requirements | str:
    try:
        return requirements(name, parse(text))
    except InvalidUnit as error:
        return str(error)


@given(st.lists(st.sampled_from(LINES.split()), max_size=8), st.sampled_from(NAMES))
def test_the_shared_value_says_what_reading_the_text_for_this_one_unit_says(lines: list[str], name: str) -> None:
    text = "\n".join(lines)
    file, found = parse(text), unit_text(text)
    assert (found.file, found.hash, found.oneshot) == (file, file.hash, is_oneshot(file))
    wanted = asked(name, text)
    assert wanted == (str(found.refusal(name)) if found.refusal(name) else found.requirements(name))
    if asks_nothing(text):
        assert isinstance(wanted, Requirements)
        assert msgspec.structs.replace(wanted, binds_to=()) == NOTHING


def test_many_texts_stay_known_in_little_memory() -> None:
    texts = [f"[Unit]\nDescription=Number {number}\n{SERVICE}[X-Fleet]\nConflicts=other@*.service\n" for number in range(5_000)]
    tracemalloc.start()
    try:
        known = [unit_text(text) for text in texts]
        assert all(found.hash and found.description and found.requirements("a.service").conflicts for found in known)
        assert tracemalloc.get_traced_memory()[0] < 10 * 2**20
    finally:
        tracemalloc.stop()
    assert all(unit_text(text) is found for text, found in zip(texts, known, strict=True))
