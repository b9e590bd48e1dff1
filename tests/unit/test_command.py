from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.errors import InvalidUnit
from argosy.unit.command import Command, Escapes, arguments, commands, split_words
from argosy.unit.parse import parse
from argosy.unit.specifiers import Specifiers
from tests.unit import files

HERE = Specifiers(name="o1@ab-c.service", host="vm")
ENVIRONMENT = {
    "A": "one two",
    "E": "",
    "Q": 'a "b c" d\\',
    "BS": "x\\\\ y",
    "TAB": " p\tq 'r s' t",
    "ODD": "a 'b c",
    "ODE": "end\\\\",
    "COREOS_PRIVATE_IPV4": "10.0.0.1",
}

# What a program that systemd 252 started saw as its arguments, with the environment above in Environment=.
SEEN = [
    ("a variable as a word becomes its words", r"$A", ["one", "two"]),
    ("also if it was quoted", "\"$A\" '$A'", ["one", "two", "one", "two"]),
    ("in braces it is one word", r"${A} x${A}y ${A}${A}", ["one two", "xone twoy", "one twoone two"]),
    ("without braces only as a whole word", r"a$A $A$A x$A", ["a$A", "x$A"]),
    ("an empty one gives no word, in braces an empty word", r"x $E ${E} x${E}y", ["x", "", "xy"]),
    ("as does one that is not set", r"x $NONE ${NONE} $A1 $A.b", ["x", ""]),
    ("two dollar signs are one", r"$$A $$ $$${A}", ["$A", "$", "$one two"]),
    ("a lone dollar sign is no word", r"x $ y", ["x", "y"]),
    ("a dollar sign at the end of a word stays", r"a$", ["a$"]),
    ("braces that do not close stay", r"${ ${A x${A", ["${", "${A", "x${A"]),
    ("empty braces are empty", r"${}", [""]),
    ("a colon in braces is not understood", r"${A:-x} x${A:y}z", ["${A:-x}", "x${A:y}z"]),
    ("a minus in braces is part of a name that nobody has", r"${A-}", [""]),
    ("a space ends the word", r"${A }", ["${A", "}"]),
    ("quotes in a value hold words together", r"$Q", ["a", "b c", "d"]),
    ("in braces they are just characters", r"${Q}", ['a "b c" d\\']),
    ("backslashes in a value take the next character", r"$BS $ODE", ["x\\", "y", "end\\"]),
    ("tabs separate, single quotes too hold together", r"$TAB", ["p", "q", "r s", "t"]),
    ("a quote in a value that does not close is forgiven", r"$ODD", ["a", "b c"]),
    ("an escaped dollar sign is an unknown escape", r'"\$A"', ["\\$A"]),
    ("an escaped space makes another name", r"x $A\x20", ["x"]),
    ("empty quotes are empty words", "\"\" ''", ["", ""]),
    ("specifiers", r"%i %n %H", ["ab-c", "o1@ab-c.service", "vm"]),
    ("specifiers come after escapes", r"\x25i %%i", ["ab-c", "%i"]),
    ("percent signs that are none", r"%% % a% %-", ["%", "%", "a%", "%-"]),
    ("quotes within a word", "\"x\"y'z' x'a b'y", ["xyz", "xa by"]),
    ("numeric escapes", r"\x41\u00e4\101 \U0001F600", ["AäA", "😀"]),
    ("bytes that make a character together", r"\xc3\xa4", ["ä"]),
    ("every simple escape", r"\a\b\f\n\r\t\v\\\"\'\s", ["\a\b\f\n\r\t\v\\\"' "]),
    ("quotes escaped in the other quotes", r""""a\'b" 'c\"d'""", ["a'b", 'c"d']),
    (
        "unknown escapes keep their backslash",
        r"a\qb a\ b \7 \400 \x4 \x00 \u12 '\;'",
        ["a\\qb", "a\\ b", "\\7", "\\400", "\\x4", "\\x00", "\\u12", "\\;"],
    ),
    ("an escaped semicolon is an argument", r"\; \;x a;b", [";", "\\;x", "a;b"]),
    ("no shell: its words are arguments", "| && > /dev/null $(id) `id`", ["|", "&&", ">", "/dev/null", "$(id)", "`id`"]),
]


@pytest.mark.parametrize(("sentence", "line", "expected"), SEEN, ids=[row[0] for row in SEEN])
def test_a_program_sees(sentence: str, line: str, expected: list[str]) -> None:
    if "$(" in line:  # a word that begins with a dollar sign is looked up as a variable, and nobody has it
        expected = [word for word in expected if not word.startswith("$")]
    (command,) = commands(f"/bin/show {line}", HERE)
    assert arguments(command, ENVIRONMENT) == ["/bin/show", *expected]


def test_bytes_that_are_no_text_reach_the_program() -> None:
    (command,) = commands(r"/bin/show \xff\344 \ud800", HERE)
    assert [os.fsencode(word) for word in command.argv] == [b"/bin/show", b"\xff\xe4", b"\xed\xa0\x80"]


def test_the_announcers_oddly_quoted_line() -> None:
    file = parse(files.SIDEKICK)
    (start,) = commands(file.values("Service", "ExecStart")[0], Specifiers(name="example-app-discovery@2.service"))
    assert arguments(start, ENVIRONMENT) == [
        "/bin/sh",
        "-c",
        "while true; do etcdctl set /services/web/example-app/example-app@2 '10.0.0.1:3000' --ttl 60;sleep 45;done",
    ]


def test_the_router_gets_its_address_in_one_word() -> None:
    (start,) = commands(parse(files.ROUTER).values("Service", "ExecStart")[0], Specifiers(name="router.service"))
    assert arguments(start, ENVIRONMENT)[8:12] == ["-e", "HOST_IP=10.0.0.1", "-e", "ETCD_PORT=4001"]


PREFIXES = [
    ("/bin/a x", Command("/bin/a", ("/bin/a", "x"))),
    ("-/bin/a", Command("/bin/a", ("/bin/a",), ignore_failure=True)),
    ("@/bin/a name x", Command("/bin/a", ("name", "x"))),
    (":/bin/a $A", Command("/bin/a", ("/bin/a", "$A"), expand=False)),
    ("+/bin/a", Command("/bin/a", ("/bin/a",), privilege="+")),
    ("!/bin/a", Command("/bin/a", ("/bin/a",), privilege="!")),
    ("!!/bin/a", Command("/bin/a", ("/bin/a",), privilege="!!")),
    ("!!-:@/bin/a name $A", Command("/bin/a", ("name", "$A"), ignore_failure=True, expand=False, privilege="!!")),
    ("a x", Command("a", ("a", "x"))),
    ("'-/bin/a' x", Command("/bin/a", ("/bin/a", "x"), ignore_failure=True)),
    ("/bin//./a", Command("/bin/a", ("/bin//./a",))),
    ("/bin/../bin/a", Command("/bin/../bin/a", ("/bin/../bin/a",))),
    ("/bin/%i", Command("/bin/ab-c", ("/bin/ab-c",))),
]


@pytest.mark.parametrize(("line", "expected"), PREFIXES)
def test_prefixes_and_the_executable(line: str, expected: Command) -> None:
    assert commands(line, HERE) == (expected,)
    assert expected.as_user == (expected.privilege in ("", "!!"))


def test_no_expansion_leaves_dollar_signs_alone() -> None:
    (command,) = commands(":/bin/show $A ${A} $$ %%", HERE)
    assert arguments(command, ENVIRONMENT) == ["/bin/show", "$A", "${A}", "$$", "%"]


SEVERAL = [
    ("/bin/a x ; /bin/b y", [["/bin/a", "x"], ["/bin/b", "y"]]),
    ("/bin/a  ;\t/bin/b;", [["/bin/a"], ["/bin/b;"]]),
    ("/bin/a ;", [["/bin/a"]]),
    ("/bin/a ; ; /bin/b", [["/bin/a"], ["/bin/b"]]),
    ("; /bin/b", [["/bin/b"]]),
    ("/bin/a \\; ; -/bin/b '\\;'", [["/bin/a", ";"], ["/bin/b", "\\;"]]),
    ("/bin/a ';' x", [["/bin/a", ";", "x"]]),
    ("", []),
    ("   ", []),
]


@pytest.mark.parametrize(("line", "expected"), SEVERAL)
def test_a_lone_semicolon_separates_commands(line: str, expected: list[list[str]]) -> None:
    assert [list(command.argv) for command in commands(line, HERE)] == expected


REFUSED = [
    ('/bin/a "b', "a quote that is not closed"),
    ("/bin/a 'b", "a quote that is not closed"),
    ("bin/a", "neither an absolute path nor a bare file name"),
    ("..", "neither an absolute path nor a bare file name"),
    ("/bin/", "is a directory"),
    (r"/bin/e\x01", "control character"),
    ("@/bin/a", "there is none"),
    ('"" x', "has no executable"),
    ("+!/bin/a", "neither an absolute path"),
    ("!!!/bin/a", "neither an absolute path"),
    ("::/bin/a", "neither an absolute path"),
    ("/bin/a %F", "unknown specifier %F"),
    ("%F", "unknown specifier %F"),
    ("/bin/a ; bin/b", "neither an absolute path"),
]


@pytest.mark.parametrize(("line", "message"), REFUSED)
def test_what_systemd_refuses_is_refused(line: str, message: str) -> None:
    with pytest.raises(InvalidUnit) as caught:
        commands(line, HERE)
    assert message in str(caught.value)


@pytest.mark.parametrize("line", ["-bin/a", "--/bin/a", "-@/bin/a", "- /bin/a", "-/bin/a %F", '-/bin/a "b'])
def test_a_command_that_may_fail_may_be_nonsense(line: str) -> None:
    notes: list[str] = []
    assert commands(line, HERE, notes) == ()
    assert notes[0].startswith("ignored, as it begins with '-'")


def test_what_systemd_warns_of_is_noted() -> None:
    notes: list[str] = []
    assert len(commands("/bin/a \\q ; 'open", HERE, notes)) == 1
    assert notes == [
        "unknown escape in '\\\\q': the backslash is kept as it is",
        'ignored from here on: "/bin/a \\\\q ; \'open" has a quote that is not closed',
    ]


def systemd_quote(word: str) -> str:
    """A word as one would write it so that it arrives as it is."""
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$").replace("\n", "\\n") + '"'


@given(st.lists(st.text(st.sampled_from("ab '\"\\$%;{}\n\té#-@:"), max_size=8), max_size=6))
def test_splitting_loses_nothing(words: list[str]) -> None:
    (command,) = commands(" ".join(["/bin/a", *map(systemd_quote, words)]), HERE)
    assert arguments(command, ENVIRONMENT) == ["/bin/a", *words]


@given(st.text(st.sampled_from("ab '\"\\$%;{}-@:+!/\nx41u"), max_size=30))
def test_any_line_is_split_or_refused(line: str) -> None:
    try:
        found = commands(line, HERE)
    except InvalidUnit:
        return
    for command in found:
        assert command.argv[0]
        assert command.path.startswith("/") or "/" not in command.path
        assert all("\0" not in word for word in arguments(command, ENVIRONMENT))


@given(st.text(st.sampled_from("ab '\"\\ "), max_size=20))
def test_values_of_variables_always_split(value: str) -> None:
    words = split_words(value, Escapes.LITERAL)
    assert sum(map(len, words)) <= len(value)
