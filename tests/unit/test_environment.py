from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.unit.environment import environment, parse_environment_file
from argosy.unit.specifiers import NotHonoured, Specifiers

HERE = Specifiers(name="web@1.service")

# What systemd 252 set from these Environment= lines.
LINES = [
    ("one assignment", "A=1", {"A": "1"}),
    ("several", "A=1 B=2", {"A": "1", "B": "2"}),
    ("quoted as a whole", "\"A=one two\" 'B=x y'", {"A": "one two", "B": "x y"}),
    ("quoted in part", 'A="one two"', {"A": "one two"}),
    ("empty", "A= B=", {"A": "", "B": ""}),
    ("a dollar sign is nothing special", "A=$B B=${C}", {"A": "$B", "B": "${C}"}),
    ("a specifier", "A=%i", {"A": "1"}),
    ("escapes", r"A=a\tb\x41 'B=q\\'", {"A": "a\tbA", "B": "q\\"}),
    ("control characters are allowed", r"A=b\x01", {"A": "b\x01"}),
    ("what is no assignment is left out", "A=1 B 2=3 C-D=4 =5 E=6", {"A": "1", "E": "6"}),
    ("an open quote ends the line", 'A=1 "B=2 C=3', {"A": "1"}),
    ("an unknown escape ends it too", r"A=1 B=\q C=3", {"A": "1"}),
    ("an unknown specifier leaves its word out", "A=%F B=2", {"B": "2"}),
    ("the last of a name counts", "A=1 A=2", {"A": "2"}),
    ("bytes that are no text are left out", r"A=\xff B=1", {"B": "1"}),
]


@pytest.mark.parametrize(("sentence", "line", "expected"), LINES, ids=[row[0] for row in LINES])
def test_an_environment_line_sets(sentence: str, line: str, expected: dict[str, str]) -> None:
    notes: list[str] = []
    assert environment(line, HERE, notes) == expected
    lost = any(word in sentence for word in ("left out", "leaves", "ends"))
    assert bool(notes) == lost


def test_what_the_supervisor_cannot_give_is_not_left_out_silently() -> None:
    with pytest.raises(NotHonoured):
        environment("A=%d", HERE)


# What systemd 252 set from files with this content.
FILES = [
    ("plain", "A=1\nB=2\n", {"A": "1", "B": "2"}),
    ("no newline at the end", "A=1", {"A": "1"}),
    ("comments and blank lines", "# A=1\n; B=2\n\n  # C\n A=3\n", {"A": "3"}),
    ("a comment goes on after a backslash", "# a \\\nA=1\nB=2\n", {"B": "2"}),
    ("a # within a value is part of it", "A=1 # 2\n", {"A": "1 # 2"}),
    ("whitespace around name and value goes", " A \t=  b c  \n", {"A": "b c"}),
    ("double quotes", 'A="  b c  "\n', {"A": "  b c  "}),
    ("single quotes", "A='b \"c\" \\n'\n", {"A": 'b "c" \\n'}),
    ("quotes may span lines", "A=\"b\nc\"\nB='d\ne'\n", {"A": "b\nc", "B": "d\ne"}),
    ("escapes within double quotes", r'A="\" \\ \` \$ \n"' + "\n", {"A": '" \\ ` $ \\n'}),
    ("a backslash joins lines within double quotes", 'A="b\\\nc"\n', {"A": "bc"}),
    ("a backslash joins lines outside of them", "A=b\\\n  c\n", {"A": "b  c"}),
    ("a backslash takes the next character outside of quotes", 'A=\\b\\ \\"\n', {"A": 'b "'}),
    ("quotes within a bare value are literal", 'A=b"c"\n', {"A": 'b"c"'}),
    ("what follows a quoted part is joined to it", 'A="b" c\n', {"A": "bc"}),
    ("quoted parts are joined", "A=\"b\" 'c'\n", {"A": "bc"}),
    ("an open quote goes on to the end", 'A="b\nB=2\n', {"A": "b\nB=2\n"}),
    ("a line without = is nothing", "A\nB=2\n", {"B": "2"}),
    ("export is no part of the syntax", "export A=1\nB=2\n", {"B": "2"}),
    ("a name must be one", "1A=2\nB-C=3\n=4\nD=5\n", {"D": "5"}),
    ("a leading = belongs to the name", "='$\\\nexport =Q\n", {"export": "Q"}),
    ("an empty value", "A=\nB=\n", {"A": "", "B": ""}),
    ("the last of a name counts", "A=1\nA=2\n", {"A": "2"}),
    ("no variables, no specifiers", "A=$B %i\n", {"A": "$B %i"}),
    ("Windows line ends", "A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
    ("an empty file", "", {}),
]


@pytest.mark.parametrize(("sentence", "text", "expected"), FILES, ids=[row[0] for row in FILES])
def test_an_environment_file_sets(sentence: str, text: str, expected: dict[str, str]) -> None:
    assert parse_environment_file(text) == expected


VALUES = st.text(st.sampled_from("ab '\"\\$`\n\té#;="), max_size=12)


@given(st.dictionaries(st.sampled_from(["A", "B_1", "_c"]), VALUES))
def test_quoted_values_are_read_as_they_were_written(variables: dict[str, str]) -> None:
    def quoted(value: str) -> str:
        return '"' + "".join(f"\\{character}" if character in '"\\`$' else character for character in value) + '"'

    assert parse_environment_file("".join(f"{name}={quoted(value)}\n" for name, value in variables.items())) == variables


@given(st.text(st.sampled_from("AB=\n\r '\"\\#; x"), max_size=40))
def test_any_text_gives_an_environment(text: str) -> None:
    found = parse_environment_file(text)
    assert all(name.isidentifier() for name in found)
    assert sum(map(len, found.values())) <= len(text)
