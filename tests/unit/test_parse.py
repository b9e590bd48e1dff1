from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.errors import InvalidInput, InvalidUnit
from argosy.unit.parse import LARGEST_FILE, Option, UnitFile, parse, serialize
from argosy.unit.validate import validate
from tests.unit import files


def options(text: str) -> list[tuple[str, str, str, int]]:
    return [(option.section, option.name, option.joined, option.line) for option in parse(text).options]


MEANINGS = [
    ("a plain assignment", "[Unit]\nA=b\n", [("Unit", "A", "b", 2)]),
    ("no newline at the end", "[Unit]\nA=b", [("Unit", "A", "b", 2)]),
    ("whitespace around name and value goes", "[Unit]\n\t A \t= b c \t\n", [("Unit", "A", "b c", 2)]),
    ("comments with # and ; are no assignments", "# x=y\n; x=y\n[Unit]\n  # x=y\nA=b\n", [("Unit", "A", "b", 5)]),
    ("a # within a value is part of it", "[Unit]\nA=b # c ; d\n", [("Unit", "A", "b # c ; d", 2)]),
    ("only the first = separates", "[Unit]\nA=b=c\n", [("Unit", "A", "b=c", 2)]),
    ("order and repetition are kept", "[Unit]\nB=1\nA=2\nB=3\n", [("Unit", "B", "1", 2), ("Unit", "A", "2", 3), ("Unit", "B", "3", 4)]),
    ("a section may come back", "[U]\nA=1\n[S]\nB=2\n[U]\nC=3\n", [("U", "A", "1", 2), ("S", "B", "2", 4), ("U", "C", "3", 6)]),
    (
        "a backslash before the newline joins lines with a space",
        "[U]\nA=b \\\n  c\\\nd\nE=f\n",
        [("U", "A", "b    c d", 2), ("U", "E", "f", 5)],
    ),
    ("a comment within a continuation is skipped", "[U]\nA=b \\\n# c\n ; d \\\n e\n", [("U", "A", "b   e", 2)]),
    ("a blank line ends a continuation", "[U]\nA=b \\\n\nC=d\n", [("U", "A", "b", 2), ("U", "C", "d", 4)]),
    ("the end of the file ends a continuation", "[U]\nA=b \\", [("U", "A", "b", 2)]),
    ("two backslashes at the end of a line do not join", "[U]\nA=b \\\\\nC=d\n", [("U", "A", "b \\\\", 2), ("U", "C", "d", 3)]),
    ("a space after the backslash keeps lines apart", "[U]\nA=b \\ \nC=d\n", [("U", "A", "b \\", 2), ("U", "C", "d", 3)]),
    ("a comment does not go on after a backslash", "[U]\n# b \\\nC=d\n", [("U", "C", "d", 3)]),
    ("a continuation may begin before the =", "[U]\nA \\\n = b\n", [("U", "A", "b", 2)]),
    ("Windows line ends", "[U]\r\nA=b \\\r\n c\r\nD=e\r\n", [("U", "A", "b   c", 2), ("U", "D", "e", 4)]),
    ("old Macintosh line ends", "[U]\rA=b\rC=d", [("U", "A", "b", 2), ("U", "C", "d", 3)]),
    ("a byte order mark is skipped", "\ufeff[U]\nA=b\n", [("U", "A", "b", 2)]),
    ("an empty value stays an assignment", "[U]\nA=\n", [("U", "A", "", 2)]),
    ("before any section it counts as [Unit]", "A=b\n[S]\nC=d\n", [("Unit", "A", "b", 1), ("S", "C", "d", 3)]),
]


@pytest.mark.parametrize(("sentence", "text", "expected"), MEANINGS, ids=[row[0] for row in MEANINGS])
def test_a_text_means(sentence: str, text: str, expected: list[tuple[str, str, str, int]]) -> None:
    assert options(text) == expected


def test_the_text_is_kept_byte_for_byte() -> None:
    text = "\ufeff# x\r\n\r\n A = b\\\n\tc  \n\n[S]\n"
    assert parse(text).text == text
    assert parse(text.encode()).text == text


def test_an_empty_assignment_drops_those_before_it() -> None:
    file = parse("[S]\nA=1\nA=2\nA=\nA=3\nA=4\nB=1\nB=\n[T]\nA=5\n")
    assert file.values("S", "A") == ("3", "4")
    assert file.last("S", "A") == "4"
    assert file.last("S", "B") is None
    assert file.values("S", "C") == ()
    assert file.assignments("S", "A") == ("1", "2", "", "3", "4")


def test_bare_assignments_are_warned_of_and_put_under_a_header_for_systemd() -> None:
    file = parse(files.APP)
    assert [(problem.line, problem.severity) for problem in file.problems] == [(3, "warning"), (4, "warning")]
    assert file.last("Unit", "After") == "router.service"
    assert file.manager_text == "[Unit]\n" + files.APP
    assert not parse(file.manager_text).problems
    assert parse(file.manager_text).options == tuple(
        Option(option.section, option.name, option.value, option.line + 1) for option in file.options
    )
    assert parse(files.SIDEKICK).manager_text == files.SIDEKICK


@pytest.mark.parametrize(("name", "text"), files.FILES)
def test_the_unit_files_that_people_run_are_accepted(name: str, text: str) -> None:
    known = validate(name, text)
    assert known.text == text
    assert known.file.last("Service", "ExecStart")


ERRORS = [
    ("a line without =", "[U]\nfoo bar\n", 2, "'foo bar' lacks '='"),
    ("a line without a name", "[U]\n=x\n", 2, "'=x' lacks a name before '='"),
    ("a header that is not closed", "\n[U\n", 2, "'[U' is no section header"),
    ("a header with a comment behind it", "[U] # x\n", 1, "'[U] # x' is no section header"),
    ("an empty header", "[]\nA=1\n", 1, "'[]' is no section header"),
    ("a control character", "[U]\nA=\x1b[31m\n", 2, "control character 0x1b"),
    ("an empty file", "", 0, "the file is empty"),
    ("a file of comments", "# x\n", 0, "the file holds no assignment"),
]


@pytest.mark.parametrize(("sentence", "text", "line", "message"), ERRORS, ids=[row[0] for row in ERRORS])
def test_an_error_names_its_line(sentence: str, text: str, line: int, message: str) -> None:
    (problem,) = parse(text).errors
    assert problem.line == line
    assert message in problem.message
    with pytest.raises(InvalidUnit, match=r"a\.service: "):
        validate("a.service", text)


def test_all_errors_are_listed_at_once() -> None:
    with pytest.raises(InvalidUnit) as caught:
        validate("a.service", "x\n[U]\ny\n" + "z\n" * 30)
    assert "line 1: 'x'" in caught.value.message
    assert "line 3: 'y'" in caught.value.message
    assert "and 22 more" in caught.value.message


UNREADABLE = [
    ("a binary file", b"\x7fELF\x02\x01\x01\0\0\xff", "NUL byte"),
    ("text with a NUL", "[U]\nA=b\0c\n", "line 2: a NUL byte"),
    ("bytes that are not UTF-8", b"[U]\nA=\xff\n", "line 2: byte 0xff is not UTF-8"),
    ("a lone surrogate", "[U]\nA=\ud800\n", "line 2: a lone surrogate"),
    ("a megabyte", "[U]\n" + "A=b\n" * 262_144, f"the most is {LARGEST_FILE} (256 KiB)"),
    ("a byte too many", b"#" * (LARGEST_FILE + 1), f"has {LARGEST_FILE + 1} bytes"),
]


@pytest.mark.parametrize(("sentence", "text", "message"), UNREADABLE, ids=[row[0] for row in UNREADABLE])
def test_what_is_no_text_is_refused(sentence: str, text: str | bytes, message: str) -> None:
    with pytest.raises(InvalidUnit) as caught:
        parse(text)
    assert message in caught.value.message
    if isinstance(text, str):
        with pytest.raises(InvalidInput, match=r"a\.service"):
            validate("a.service", text)


def test_the_largest_file_is_read() -> None:
    text = "[U]\nA=" + "b" * (LARGEST_FILE - 7) + "\n"
    assert len(text) == LARGEST_FILE
    assert parse(text).errors == ()


def test_a_unit_that_would_abort_systemd_is_refused() -> None:
    with pytest.raises(InvalidUnit, match=r"line 2: %J in t-@\.service would abort systemd"):
        validate("t-@.service", "[Service]\nExecStart=/bin/echo %J\n")
    assert validate("t@.service", "[Service]\nExecStart=/bin/echo %J\n")


# What fleet 1.0 itself computes for these texts (unit.NewUnitFile, Hash).
HASHES = [
    ("one option", "[Unit]\nA=b", "9936816f25a659b2b12b116e85777205069365a9"),
    (
        "Windows line ends",
        "[Unit]\r\nDescription=x  \r\n\r\n[Service]\r\nExecStart=/bin/true\r\n",
        "7ff43b741fbdb60185c33324e6179bb18ec06f91",
    ),
    (
        "continuations, with a comment and a blank line in them",
        "[Unit]\nDescription=a \\\n  b\\\n# comment \\\nc\n[Service]\nExecStart=/bin/sh -c \\\n  'a' \\\n\nExecStop=/bin/true\n",
        "66a033d2798ac9210eebe5951516e7be0b2b784c",
    ),
    (
        "sections that come back",
        "[Unit]\nA=one\n[Service]\nExecStart=/bin/true\n[Unit]\nAfter=b.service\n[X-Fleet]\nGlobal=true\n[Service]\nExecStart=\n",
        "2e3e28607b0ff5281b988e8567fb70c4ce7001d9",
    ),
    (
        "comments, spaces, Unicode",
        "# a\n; b\n[Unit]\nDescription=Größe ☃\n  After =  a.service   \n",
        "d4be2acf5fe9fc7dadbf03f5d3a59f9d5ddf9283",
    ),
    ("quoted values", '[X-Fleet]\nMachineMetadata="a=b" "c=d"\nMachineMetadata=e=f=g\n', "20d748cdc528d0af5fc4c2f3892bebd5de51aca3"),
    ("a sidekick", files.SIDEKICK, "695bf9e7ebbe930a995751cb468c00f4e8a0ca69"),
    ("an application", "[Unit]\n" + files.APP, "70b674963d33243f107bc8f7a6b988d88c5e7fc5"),
    ("a registry", "[Unit]\n" + files.REGISTRY, "dcb47b2279033f5ed18a6f1edfd82762af535250"),
    ("a router", "[Unit]\n" + files.ROUTER, "c36e10d454dd2ff80ce2cd6dca41ae833b687be2"),
    ("an application with a timeout", "[Unit]\n" + files.APP_WITH_TIMEOUT, "171a294116a0ff034d298cef26e6eeb18e52641e"),
]


@pytest.mark.parametrize(("sentence", "text", "expected"), HASHES, ids=[row[0] for row in HASHES])
def test_the_hash_is_fleets(sentence: str, text: str, expected: str) -> None:
    file = parse(text)
    assert file.hash == expected
    assert parse(serialize(file.options)).hash == expected


def test_bare_assignments_count_in_the_hash_as_unit_options() -> None:
    assert parse(files.APP).hash == parse("[Unit]\n" + files.APP).hash


def test_comments_do_not_count_in_the_hash_but_options_do() -> None:
    first = parse("[U]\nA=1\n")
    assert parse("# x\n\n[U]\n\n A = 1\n").hash == first.hash
    assert parse("[U]\nA=2\n").hash != first.hash
    assert parse("[U]\nA=1\nA=1\n").hash != first.hash


def test_options_are_serialised_grouped_by_section() -> None:
    given_options = [Option("B", "x", "1"), Option("A", "y", "2"), Option("B", "z", "3")]
    assert serialize(given_options) == "[B]\nx=1\nz=3\n\n[A]\ny=2\n"
    assert serialize([]) == ""


WORDS = st.text(st.sampled_from("ab=#; é☃\"'%$[]	"), max_size=12)
NAMES = st.sampled_from(["A", "B", "ExecStart", "X-Fleet", "Unit", "Ünit"])


@st.composite
def plain_options(draw: st.DrawFn) -> list[Option]:
    """Options as a well-behaved client of fleet's API sends them."""
    values = WORDS.map(lambda text: text.strip(" \t\r\n"))
    return draw(st.lists(st.builds(Option, NAMES, NAMES, values), max_size=12))


@given(plain_options())
def test_options_survive_the_way_through_a_text(given_options: list[Option]) -> None:
    file = parse(serialize(given_options))
    assert sorted((o.section, o.name, o.value) for o in file.options) == sorted((o.section, o.name, o.value) for o in given_options)
    assert parse(file.text) == file
    assert serialize(file.options) == file.text
    assert not given_options or not file.errors


LINES = st.lists(
    st.sampled_from(
        ["[Unit]", "[S]", "A=b", "A=b \\", "A=\\", " c", "# d", "; e \\", "", "  ", "x", "\\", "A=b \\\\", "A=c \\ ", "=", "[", "é=ü"]
    ),
    max_size=14,
)


@given(LINES, st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_any_text_is_kept_and_means_the_same_when_serialised(lines: list[str], newline: str, ended: bool) -> None:
    text = newline.join(lines) + (newline if ended else "")
    file = parse(text)
    assert file.text == text
    again = parse(serialize(file.options))
    grouped = {section: [(o.name, o.joined) for o in file.options if o.section == section] for section in {o.section for o in file.options}}
    assert {section: [(o.name, o.joined) for o in again.options if o.section == section] for section in grouped} == grouped
    assert again.errors == () or not file.options


def read(text: str | bytes) -> UnitFile | None:
    """None if it is refused."""
    try:
        return parse(text)
    except InvalidUnit:
        return None


@given(st.text(max_size=200))
def test_any_text_without_nul_is_read(text: str) -> None:
    file = read(text)
    assert (file is None) == ("\0" in text)
    if file:
        assert file.text == text
        assert file.options or file.problems


@given(st.binary(max_size=200))
def test_any_bytes_are_read_as_they_are_or_refused(raw: bytes) -> None:
    file = read(raw)
    assert file is None or file.text.encode() == raw
