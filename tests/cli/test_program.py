"""The program as a shell runs it: what it loads, terminals, pipes, help and completion."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from argosy.cli.ca import ca
from argosy.cli.failing import Failure
from argosy.cli.lab import lab
from argosy.cli.main import SECTIONS, VERBS, printable_errors
from argosy.errors import InvalidInput, NotFound
from argosy.install import program
from tests.api.house import HELLO, M2
from tests.cli.stage import ENVIRONMENT, Stage, invoke

HEAVY = ("asyncio", "aiohttp", "ssl", "http.client", "email", "logging", "urllib.parse", "pathlib", "subprocess", "difflib", "traceback")
QUICK = [
    "main",
    "list_units",
    "list_machines",
    "list_unit_files",
    "why",
    "status",
    "journal",
    "stop",
    "cat",
    "orders",
    "routes",
    "completion",
]


@pytest.mark.parametrize("module", QUICK)
def test_what_people_wait_for_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, argosy.cli.main, argosy.cli.{module}; print(*sys.modules)"
    loaded = set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())
    assert not loaded & set(HEAVY)


def test_every_verb_is_in_one_section_of_the_help() -> None:
    assert sorted(verb for verbs in SECTIONS.values() for verb in verbs) == sorted(VERBS)


@pytest.mark.parametrize("columns", ["80", "120"])
@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"]])
def test_help_fits_into_the_terminal(words: list[str], columns: str) -> None:
    said = invoke(*words, env={"COLUMNS": columns})
    assert said.code == 0
    assert all(f"  {verb} " in said.out for verb in VERBS)
    assert max(map(len, said.out.splitlines())) <= 80
    listed = [line for line in said.out.splitlines() if re.match(r"  [a-z][a-z-]* {2,}\S", line)]
    assert len(listed) == len(VERBS)  # each verb's word of help is one line


SUBVERBS = [f"lab {verb}" for verb in sorted(lab.commands)] + [f"ca {verb}" for verb in sorted(ca.commands)]


@pytest.mark.parametrize("verb", [*sorted(VERBS), *SUBVERBS])
def test_every_verb_has_a_paragraph_and_an_example(verb: str) -> None:
    said = invoke("help", *verb.split())
    assert said == invoke(*verb.split(), "--help")
    assert said.code == 0
    assert "..." not in said.out.partition("Options:")[2].replace(",...", "")
    usage, paragraph, *_ = said.out.split("\n\n")
    assert usage.startswith(f"Usage: argosy {verb} ")
    assert paragraph.rstrip().endswith(".")
    example = re.search(r"^  Example: (.*)$", said.out, re.MULTILINE)
    assert example is not None
    assert f"argosy {verb}" in example[1]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["list-unit"], 2, "Error: No such command 'list-unit'. Did you mean list-units?"),
        (["qqq"], 2, "Error: No such command 'qqq'."),
        (["help", "strat"], 2, "Error: No such command 'strat'. Did you mean start?"),
        (["start"], 2, "Error: Missing argument 'UNIT...'."),
        (["start", "--replce", "a"], 2, "Error: No such option '--replce'. Did you mean '--replace'?"),
        (["journal", "a", "-n", "-1"], 2, "Error: Invalid value for '--lines' / '-n': -1 is not in the range 0<=x<=10000."),
        (["stop", "--block-attempts", "x", "a"], 2, "Error: Invalid value for '--block-attempts': 'x' is not a valid integer range."),
        (["announce", "/k", "v", "--ttl", "1"], 2, "Error: Invalid value for '--ttl': 1 is not in the range 3<=x<=86400."),
        (["announce", "/a/../b", "v"], 2, "Error: '/a/../b' is no key"),
        (["announce", "/services/web/x;y/1", "h:1"], 2, "Error: routers would refuse '/services/web/x;y/1'"),
        (["up", "--metadata", "web"], 2, "Error: --metadata: 'web' is not metadata"),
        (["agent", "--config", "/nowhere.toml"], 2, "Error: cannot read configuration /nowhere.toml: No such file or directory"),
    ],
)
def test_mistakes_at_the_keyboard(words: list[str], code: int, said: str) -> None:
    result = invoke(*words)
    assert (result.code, result.out) == (code, "")
    assert said in result.err


def test_the_version() -> None:
    assert invoke("version").out == invoke("--version").out.replace(", ", " ")
    assert re.fullmatch(r"argosy version \d+\.\d+\.\d+\n", invoke("version").out)


async def units(stage: Stage, count: int = 3) -> None:
    await stage.house.machine(M2)
    for number in range(count):
        name = f"hello@{number}.service"
        await stage.house.submit(name, HELLO, "launched")
        await stage.house.place(name)
        await stage.house.observe(name, active="active" if number else "failed", sub="running" if number else "failed")
    await stage.house.submit("db.service", HELLO + "[X-Fleet]\nMachineMetadata=role=db\n", "launched")
    await stage.house.submit("idle.service", HELLO)


async def on_a_terminal(stage: Stage, *words: str, columns: int = 100, environ: Mapping[str, str] | None = None) -> str:
    """What the program shows on a terminal of that width."""
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    process = await stage.start(*words, stdout=theirs, stderr=theirs, env={"TERM": "xterm", "COLUMNS": str(columns), **(environ or {})})
    os.close(theirs)
    shown = b""
    while True:
        ended = process.returncode is not None
        try:
            shown += os.read(ours, 65536)
        except BlockingIOError:
            await asyncio.sleep(0.005)
        except OSError:
            break
        if ended:
            break
    await process.wait()
    os.close(ours)
    return shown.decode().replace("\r\n", "\n")


async def test_words_of_state_are_coloured_on_a_terminal(stage: Stage) -> None:
    await units(stage)
    shown = await on_a_terminal(stage, "list-units")
    assert "\x1b[31mfailed\x1b[0m" in shown or "\x1b[31mfailed" in shown
    assert "\x1b[32mactive" in shown
    assert "\x1b[33mwaiting" in shown
    plain = await stage.good("list-units")
    assert re.sub(r"\x1b\[[0-9;]*m", "", shown) == plain


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
async def test_no_colour_where_it_is_not_wanted(stage: Stage, environ: dict[str, str]) -> None:
    await units(stage)
    assert await on_a_terminal(stage, "list-units", environ=environ) == await stage.good("list-units")


async def test_long_reasons_are_folded_on_a_terminal_only(stage: Stage) -> None:
    await units(stage)
    shown = await on_a_terminal(stage, "why", "db", columns=80, environ={"NO_COLOR": "1"})
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.splitlines()[3:5] == [
        "11111111.../10.0.0.1  m1    MachineMetadata  local Machine metadata",
        "                                             insufficient: role=db is required,",
    ]
    assert max(map(len, (await stage.good("why", "db")).splitlines())) > 80


async def test_a_wait_is_told_on_a_terminal_after_a_while_and_only_there(stage: Stage) -> None:
    await stage.house.submit("a.service", HELLO, "launched")
    await stage.house.place("a.service")
    await stage.house.observe("a.service", active="activating", sub="start-pre")
    shown = await on_a_terminal(stage, "start", "a", "--block-attempts", "2", columns=60)
    told = [piece for piece in shown.split("\r\x1b[K") if piece.startswith("1 s: ")]
    assert told
    assert all(len(piece) <= 59 for piece in told)
    assert told[0].startswith("1 s: waiting for a.service: activating (start-pre) on 1")
    assert shown.rstrip().endswith("Error: gave up waiting for a.service: activating (start-pre) on 11111111.../10.0.0.1")


async def test_a_reader_that_leaves_early_is_no_accident(stage: Stage) -> None:
    await units(stage, 5)
    shell = await asyncio.create_subprocess_exec(
        "bash", "-c", f"set -o pipefail; {program()} list-units --json | head -c 1; echo; echo ${{PIPESTATUS[0]}}",
        env=ENVIRONMENT | {"ARGOSY_ENDPOINT": stage.endpoint}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    out, err = await shell.communicate()
    assert err == b""
    assert out.splitlines()[0] == b"["


BASH = """
eval "$({program} completion bash)"
complete_line() {{
    COMP_LINE="$1" COMP_POINT=${{#1}} COMP_TYPE=9 COMP_KEY=9
    read -ra COMP_WORDS <<<"$1"; COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
    COMPREPLY=()
    _argosy_completion {program} "" "" 2>/dev/null
    printf '%s ' "${{COMPREPLY[@]}}"
    echo
}}
{lines}
"""


async def completed(stage: Stage, *lines: str, **environ: str) -> list[list[str]]:
    """What bash offers after each line."""
    script = BASH.format(program=program(), lines="\n".join(f"complete_line '{line}'" for line in lines))
    shell = await stage_shell(stage, script, environ)
    return [line.split() for line in shell.splitlines()]


async def stage_shell(stage: Stage, script: str, environ: dict[str, str]) -> str:
    shell = await asyncio.create_subprocess_exec(
        "bash", "--norc", "-c", script,
        env=ENVIRONMENT | {"ARGOSY_ENDPOINT": stage.endpoint} | environ, cwd=stage.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    out, err = await shell.communicate()
    assert err == b""
    return out.decode()


async def test_bash_completes_verbs_units_machines_and_files(stage: Stage) -> None:
    await units(stage)
    stage.file("new.service", HELLO)
    stage.file("new@.service", HELLO)
    stage.file("notes.txt", HELLO)
    offered = await completed(
        stage,
        "argosy list-",
        "argosy stop ",
        "argosy stop hello@1",
        "argosy stop hello@1.service ",
        "argosy status h",
        "argosy start ",
        "argosy drain ",
        "argosy drain 2",
        "argosy journal --machine m",
        "argosy start --re",
        "argosy update new",
    )
    assert offered == [
        ["list-machines", "list-unit-files", "list-units"],
        ["db.service", "hello@0.service", "hello@1.service", "hello@2.service"],
        ["1.service"],
        ["db.service", "hello@0.service", "hello@2.service"],
        ["hello@0.service", "hello@1.service", "hello@2.service"],
        ["db.service", "hello@0.service", "hello@1.service", "hello@2.service", "idle.service", "new.service"],
        ["m1", "m2"],
        [M2],
        ["m1", "m2"],
        ["--replace"],
        ["new.service", "new@.service"],
    ]


async def test_completion_says_nothing_where_nobody_answers(stage: Stage, tmp_path: Path) -> None:
    offered = await completed(stage, "argosy stop ", "argosy drain ", "argosy sto", ARGOSY_ENDPOINT=f"unix://{tmp_path}/gone")
    assert offered == [[], [], ["stop"]]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_scripts_too(shell: str) -> None:
    said = invoke("completion", shell)
    assert said.code == 0
    assert f"_ARGOSY_COMPLETE={shell}_complete" in said.out
    assert "%(" not in said.out


def test_of_errors_that_come_together_each_is_told_once_and_the_first_ends_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    group = ExceptionGroup("", [ExceptionGroup("", [NotFound("one")]), NotFound("one"), InvalidInput("two", remedy="do this")])
    with pytest.raises(Failure) as caught, printable_errors():
        raise group
    assert caught.value.message == "one"
    assert capsys.readouterr().err == "Error: two\n  do this\n"
    with pytest.raises(ExceptionGroup), printable_errors():
        raise ExceptionGroup("a defect is shown whole", [NotFound("one"), ValueError("defect")])
