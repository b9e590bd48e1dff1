from __future__ import annotations

import os

import pytest

from argosy.errors import InvalidUnit
from argosy.unit.specifiers import NotHonoured, Specifiers, expand_fleet, expand_name, expand_systemd, unescape, unit_names

# What systemd 252 gave for `%n %N %p %P %i %I %j %J %f` of units with these names.
FROM_NAMES = [
    (r"foo-bar", ["foo-bar.service", "foo-bar", "foo-bar", "foo/bar", "", "", "bar", "bar", "/foo/bar"]),
    (r"x", ["x.service", "x", "x", "x", "", "", "x", "x", "/x"]),
    (
        r"a\x2db-c\x2fd",
        [r"a\x2db-c\x2fd.service", r"a\x2db-c\x2fd", r"a\x2db-c\x2fd", "a-b/c/d", "", "", r"c\x2fd", "c/d", "/a-b/c/d"],
    ),
    (r"e-\xc3\xa4", [r"e-\xc3\xa4.service", r"e-\xc3\xa4", r"e-\xc3\xa4", "e/ä", "", "", r"\xc3\xa4", "ä", "/e/ä"]),
    (r"o1@ab-c", ["o1@ab-c.service", "o1@ab-c", "o1", "o1", "ab-c", "ab/c", "o1", "o1", "/ab/c"]),
    (r"z@a\x2db", [r"z@a\x2db.service", r"z@a\x2db", "z", "z", r"a\x2db", "a-b", "z", "z", "/a-b"]),
    (r"z@@", ["z@@.service", "z@@", "z", "z", "@", "@", "z", "z", "/@"]),
    (r"z@-", ["z@-.service", "z@-", "z", "z", "-", "/", "z", "z", "/"]),
    (r"p-q@1.2-r", ["p-q@1.2-r.service", "p-q@1.2-r", "p-q", "p/q", "1.2-r", "1.2/r", "q", "q", "/1.2/r"]),
]


@pytest.mark.parametrize(("stem", "expected"), FROM_NAMES, ids=[row[0] for row in FROM_NAMES])
def test_what_comes_from_the_name_is_what_systemd_gives(stem: str, expected: list[str]) -> None:
    context = Specifiers(name=f"{stem}.service")
    assert [expand_systemd(text, context) for text in ["%n", "%N", "%p", "%P", "%i", "%I", "%j", "%J", "%f"]] == expected


MACHINE = Specifiers(
    name="web@1.service",
    machine_id="0123456789abcdef0123456789abcdef",
    boot_id="44a0b06b6fed4df8b344adb79c607ade",
    host="m1.example",
    kernel="6.1.0",
    architecture="x86-64",
    user="op",
    uid=1000,
    group="ops",
    gid=1001,
    home="/home/op",
    shell="/bin/bash",
    runtime_directory="/run/user/1000",
    os_id="debian",
    os_version="12",
    fragment="/srv/units/web@.service",
)


def test_what_comes_from_the_machine() -> None:
    text = "%m %b %H %l %q %v %a %u %U %g %G %h %s %t %S %C %L %E %T %V %o %w %y %Y"
    assert expand_systemd(text, MACHINE).split(" ") == [
        *("0123456789abcdef0123456789abcdef", "44a0b06b6fed4df8b344adb79c607ade", "m1.example", "m1", "m1.example", "6.1.0", "x86-64"),
        *("op", "1000", "ops", "1001", "/home/op", "/bin/bash", "/run/user/1000", "/var/lib", "/var/cache", "/var/log", "/etc", "/tmp"),
        *("/var/tmp", "debian", "12", "/srv/units/web@.service", "/srv/units"),
    ]
    assert expand_systemd("%B%W%M%A|", MACHINE) == "|"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("%%", "%"), ("%%i", "%i"), ("%%%i", "%1"), ("100%", "100%"), ("% i", "% i"), ("%-", "%-"), ("%é", "%é"), ("a%ib", "a1b"), ("", "")],
)
def test_a_percent_sign_before_anything_but_a_letter_or_digit_is_itself(text: str, expected: str) -> None:
    assert expand_systemd(text, MACHINE) == expected


@pytest.mark.parametrize("text", ["%F", "%5", "%x", "%O"])
def test_an_unknown_specifier_is_refused(text: str) -> None:
    with pytest.raises(InvalidUnit, match=f"unknown specifier {text}"):
        expand_systemd(f"a {text} b", MACHINE)


@pytest.mark.parametrize("text", ["%d", "%c", "%r", "%R"])
def test_what_only_systemd_has_is_named(text: str) -> None:
    with pytest.raises(NotHonoured, match=f"specifier {text} stands for"):
        expand_systemd(text, MACHINE)


@pytest.mark.parametrize(
    ("stem", "text"),
    [
        (r"q-\zz", "%P"),
        (r"z@\xZ", "%I"),
        (r"z@\x00", "%I"),
        ("t-", "%J"),
        ("z@-x-", "%f"),
        ("z@a--b", "%f"),
        ("z@..", "%f"),
        (r"z@\x2e\x2e", "%f"),
    ],
)
def test_names_that_escape_nothing_are_refused(stem: str, text: str) -> None:
    with pytest.raises(InvalidUnit):
        expand_systemd(text, Specifiers(name=f"{stem}.service"))


def test_escaped_bytes_that_are_no_text_stay_bytes() -> None:
    assert os.fsencode(unescape(r"a\xff-b")) == b"a\xff/b"


def test_fleet_replaces_four_specifiers_and_leaves_the_rest() -> None:
    assert expand_fleet("%n %N %p %i %H %% %", "a@1.service") == "a@1.service a@1 a 1 %H %% %"
    assert expand_fleet("%p-%i", "a.service") == "a-"


def test_names_of_other_units_take_what_comes_from_this_ones_name() -> None:
    assert expand_name("%p-%j-%i-%N-%%-%H", "x-web@1.service") == "x-web-web-1-x-web@1-%-%H"
    assert unit_names('db@%i.service "b.timer" web@1.service nothing a/b.service', "web@1.service") == ["db@1.service", "b.timer"]
