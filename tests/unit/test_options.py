from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.errors import InvalidUnit
from argosy.requirements import Requirements
from argosy.unit.options import (
    FLEET_KEYS,
    MOST_VALUES,
    fleet_values,
    is_oneshot,
    metadata_pair,
    remains_after_exit,
    requirements,
    restart_setting,
)
from argosy.unit.parse import parse
from tests.unit import files


def fleet(*lines: str, name: str = "app@1.service") -> Requirements:
    return requirements(name, parse("[X-Fleet]\n" + "\n".join(lines)))


MEANINGS: list[tuple[str, list[str], dict[str, Any]]] = [
    ("nothing asked: anywhere", [], {}),
    ("a machine by its id", ["MachineID=abc"], {"machine_id": "abc"}),
    ("the first machine counts", ["MachineID=abc", "MachineID=def"], {"machine_id": "abc"}),
    ("the old spelling of MachineID", ["X-ConditionMachineID=abc"], {"machine_id": "abc"}),
    ("the boot id, older still", ["X-ConditionMachineBootID=abc"], {"machine_id": "abc"}),
    ("the new spelling goes before the old", ["X-ConditionMachineID=abc", "MachineID=def"], {"machine_id": "def"}),
    ("a peer", ["MachineOf=db.service"], {"peers": ("db.service",)}),
    (
        "several peers, each on its line or quoted",
        ["MachineOf=a.service", 'MachineOf="b.service" "c.service"'],
        {"peers": ("a.service", "b.service", "c.service")},
    ),
    ("peers are not split at spaces", ["MachineOf=a.service b.service"], {"peers": ("a.service b.service",)}),
    (
        "the old spelling of MachineOf comes first",
        ["MachineOf=a.service", "X-ConditionMachineOf=b.service"],
        {"peers": ("b.service", "a.service")},
    ),
    ("conflicts are split at spaces", ["Conflicts=a* b*\tc", "Conflicts=d"], {"conflicts": ("a*", "b*", "c", "d")}),
    ("quoted conflicts are split again", ['Conflicts="a* b*" "c"'], {"conflicts": ("a*", "b*", "c")}),
    ("the old spelling of Conflicts", ["X-Conflicts=a", "Conflicts=b"], {"conflicts": ("a", "b")}),
    ("replaces are not split", ["Replaces=a*", "Replaces=b c"], {"replaces": ("a*", "b c")}),
    ("metadata: one key, one value", ["MachineMetadata=region=eu"], {"metadata": (("region", ("eu",)),)}),
    ("the same key twice is OR", ["MachineMetadata=region=eu", "MachineMetadata=region=us"], {"metadata": (("region", ("eu", "us")),)}),
    ("other keys are AND", ['MachineMetadata="region=eu" "disk=ssd"'], {"metadata": (("region", ("eu",)), ("disk", ("ssd",)))}),
    ("the old spelling of MachineMetadata", ["X-ConditionMachineMetadata=a=b"], {"metadata": (("a", ("b",)),)}),
    ("a pair with two = is ignored", ["MachineMetadata=a=b=c"], {}),
    ("a pair without = is ignored", ["MachineMetadata=a"], {}),
    ("a pair without a key or a value is ignored", ["MachineMetadata==b", "MachineMetadata=a="], {}),
    ("unquoted pairs on a line are one value, and ignored", ["MachineMetadata=a=b c=d"], {}),
    ("global", ["Global=true"], {"everywhere": True}),
    ("every word for yes", ["Global=ON"], {"everywhere": True}),
    ("T is yes to fleet", ["Global=T"], {"everywhere": True}),
    ("y is not", ["Global=y"], {}),
    ("the last Global counts", ["Global=true", "Global=no"], {}),
    (
        "global with metadata and conflicts",
        ["Global=1", "MachineMetadata=a=b", "Conflicts=c"],
        {"everywhere": True, "metadata": (("a", ("b",)),), "conflicts": ("c",)},
    ),
    ("an empty assignment drops those before it", ["MachineOf=a.service", "MachineOf=", "MachineOf=b.service"], {"peers": ("b.service",)}),
    ("%i is the instance", ["MachineOf=db@%i.service"], {"peers": ("db@1.service",)}),
    ("%p is the prefix", ["Conflicts=%p@*.service"], {"conflicts": ("app@*.service",)}),
    ("%n and %N are the name with and without its type", ["Conflicts=x-%n y-%N"], {"conflicts": ("x-app@1.service", "y-app@1")}),
    (
        "no other specifier counts here",
        ["MachineMetadata=host=%H", "Conflicts=%%"],
        {"metadata": (("host", ("%H",)),), "conflicts": ("%%",)},
    ),
    ("a unit may conflict with itself: it never does", ["Conflicts=*"], {"conflicts": ("*",)}),
]


@pytest.mark.parametrize(("sentence", "lines", "expected"), MEANINGS, ids=[row[0] for row in MEANINGS])
def test_fleet_options_mean(sentence: str, lines: list[str], expected: dict[str, Any]) -> None:
    assert fleet(*lines) == Requirements(**expected)


REFUSED = [
    (["Foo=x"], 'unrecognized requirement in [X-Fleet] section: "Foo"'),
    (["machineof=x"], 'unrecognized requirement in [X-Fleet] section: "machineof"'),
    (["X-MachineOf=x"], 'unrecognized requirement in [X-Fleet] section: "X-MachineOf"'),
    (["MachineID=a", "MachineOf=b"], "MachineID cannot be used with Peers"),
    (["X-ConditionMachineBootID=a", "Conflicts=b"], "MachineID cannot be used with Conflicts"),
    (["MachineID=a", "Global=true"], "MachineID cannot be used with Global"),
    (["MachineID=a", "Replaces=b"], "MachineID cannot be used with Replaces"),
    (["Global=true", "MachineOf=b"], "Global cannot be used with Peers"),
    (["Global=true", "Replaces=b"], "Global cannot be used with Replaces"),
    (["Conflicts=a", "Replaces=b"], "Conflicts cannot be used with Replaces"),
    (["MachineID=a", "MachineOf=b", "Conflicts=c", "Global=1"], "MachineID cannot be used with Peers"),
    (["MachineOf=a.service", "Conflicts=a*"], 'unresolvable requirements: peer "a.service" matches conflict "a*"'),
    (["MachineOf=a.service", "Replaces=a*"], 'unresolvable requirements: peer "a.service" matches replace "a*"'),
    (["MachineOf=db@%i.service", "Conflicts=db@*"], 'unresolvable requirements: peer "db@%i.service" matches conflict "db@*"'),
    (
        ["MachineOf=db@%i.service", "Conflicts=db@1.service"],
        'unresolvable requirements: peer "db@1.service" matches conflict "db@1.service"',
    ),
]


@pytest.mark.parametrize(("lines", "message"), REFUSED)
def test_what_cannot_be_is_refused_in_fleets_words(lines: list[str], message: str) -> None:
    with pytest.raises(InvalidUnit) as caught:
        fleet(*lines)
    assert str(caught.value) == message


BROKEN = [
    ("a malformed glob", ["Conflicts=a[b"], "malformed glob 'a[b'"),
    ("a malformed glob to replace", ["Replaces=[]"], "malformed glob '[]'"),
    ("a unit that follows itself", ["MachineOf=app@1.service"], "MachineOf=app@1.service in app@1.service itself"),
    ("a unit that follows itself by specifier", ["MachineOf=%p@%i.service"], "a unit cannot follow itself"),
    ("too many peers", [f"MachineOf=a{n}.service" for n in range(MOST_VALUES + 1)], "the most is 256 (use a glob)"),
    ("a glob longer than any name", ["Conflicts=" + "*a" * 129], "has a value of 258 characters"),
]


@pytest.mark.parametrize(("sentence", "lines", "message"), BROKEN, ids=[row[0] for row in BROKEN])
def test_what_makes_no_sense_is_refused(sentence: str, lines: list[str], message: str) -> None:
    with pytest.raises(InvalidUnit) as caught:
        fleet(*lines)
    assert message in str(caught.value)


def argosy(*lines: str) -> Requirements:
    return requirements("a.service", parse("[X-Argosy]\n" + "\n".join(lines)))


def test_on_disconnect_says_whether_a_cut_off_machine_stops_the_unit() -> None:
    assert argosy("OnDisconnect=stop").stop_on_disconnect
    assert not argosy("OnDisconnect=keep").stop_on_disconnect
    assert not argosy("OnDisconnect=stop", "OnDisconnect=").stop_on_disconnect
    assert argosy("OnDisconnect=keep", "OnDisconnect=stop").stop_on_disconnect
    assert argosy("Update=rolling").rolling
    assert not argosy("Update=together").rolling
    assert argosy("Keys=write").writes_keys
    assert not argosy("Keys=write", "Keys=read").writes_keys
    assert not argosy("Update=rolling").writes_keys


def test_an_unknown_argosy_key_is_refused_naming_the_known_ones() -> None:
    with pytest.raises(InvalidUnit, match=r"unknown key 'OnDisconect' in \[X-Argosy\] \(it knows OnDisconnect, Update, Keys\)"):
        argosy("OnDisconect=stop")
    with pytest.raises(InvalidUnit, match=r"Update=slow in .* is neither rolling nor together"):
        argosy("Update=slow")
    with pytest.raises(InvalidUnit, match="OnDisconnect=halt in"):
        argosy("OnDisconnect=halt")


def test_units_that_this_one_is_bound_to_are_found() -> None:
    file = parse(
        "[Unit]\nBindsTo=app@%i.service %p-db.service\nRequires=a.service\nRequires=\nPartOf=a.service b.service\n"
        "After=c.service\nBindsTo=no-name side@1.service %%.service\n"
    )
    assert requirements("side@1.service", file).binds_to == ("app@1.service", "side-db.service", "a.service", "b.service")


def test_the_sidekick_follows_its_application() -> None:
    assert requirements("example-app-discovery@2.service", parse(files.SIDEKICK)) == Requirements(
        peers=("example-app@2.service",), binds_to=("example-app@2.service",)
    )
    assert requirements("example-app@2.service", parse(files.APP)) == Requirements(conflicts=("example-app@*.service",))
    assert requirements("registry.service", parse(files.REGISTRY)) == Requirements(everywhere=True)


SPLITS = [
    ("a b", ["a b"]),
    ('"a b"', ["a b"]),
    ('"a" "b c"', ["a", "b c"]),
    ('"a"  "b"', ["a", "b"]),
    ('"a""b"', ["ab"]),
    ('"a" b', ['"a" b']),
    ('a "b"', ['a "b"']),
    ('"a" b "c"', ["a", "b", "c"]),
    ('"', []),
    ('""', []),
    ("", [""]),
]


@pytest.mark.parametrize(("line", "expected"), SPLITS)
def test_only_a_line_that_begins_and_ends_with_a_quote_holds_several_values(line: str, expected: list[str]) -> None:
    assert fleet_values(line) == expected


@given(st.lists(st.text(st.sampled_from("ab= *"), min_size=1, max_size=5), min_size=1, max_size=6))
def test_quoted_values_come_apart_as_they_were_put_together(values: list[str]) -> None:
    assert fleet_values(" ".join(f'"{value}"' for value in values)) == values


@given(st.text(st.sampled_from("ab="), max_size=6))
def test_a_metadata_pair_has_two_parts(value: str) -> None:
    pair = metadata_pair(value)
    assert (pair is not None) == (value.count("=") == 1 and not value.startswith("=") and not value.endswith("="))
    assert pair is None or "=".join(pair) == value


@given(
    st.lists(st.tuples(st.sampled_from(FLEET_KEYS), st.sampled_from(["a", "a*", "true", "k=v", "%i", "b.service", "", "[", '"c d" "e"'])))
)
def test_any_options_give_requirements_or_a_refusal(pairs: list[tuple[str, str]]) -> None:
    lines = [f"{key}={value}" for key, value in pairs]
    try:
        found = fleet(*lines)
    except InvalidUnit:
        return
    assert fleet(*lines) == found
    assert not (found.everywhere and found.peers)
    assert not (found.machine_id and (found.peers or found.conflicts or found.replaces or found.everywhere))


def service(*lines: str) -> str:
    return "[Service]\n" + "\n".join(lines)


def test_what_the_agent_asks_of_a_service() -> None:
    oneshot = parse(service("Type=oneshot", "ExecStart=/bin/true", "RemainAfterExit=yes", "RemainAfterExit=maybe"))
    assert is_oneshot(oneshot)
    assert remains_after_exit(oneshot)
    assert restart_setting(oneshot) is None
    simple = parse(service("ExecStart=/bin/true", "Restart=always", "Restart=", "Restart=sometimes"))
    assert not is_oneshot(simple)
    assert not remains_after_exit(simple)
    assert restart_setting(simple) == "always"
    assert restart_setting(parse(service("Restart=no"))) == "no"
    assert is_oneshot(parse(service("ExecStop=/bin/true")))
    assert not is_oneshot(parse("[Timer]\nOnBootSec=1\n"))
