"""The scripts of a container's service, run with an engine that is made up: what they end is what the file names, and nothing else."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from argosy.unit.command import arguments, commands
from argosy.unit.parse import parse
from argosy.unit.quadlet.engine import Engine
from argosy.unit.quadlet.keys import EngineKind
from argosy.unit.quadlet.service import translate
from argosy.unit.specifiers import Specifiers

ENGINE = r"""#!/bin/sh
# The file "held" has lines "id name". A name that is not there is taken for the beginning of an id, as Docker and Podman do.
cd "${0%/*}" || exit 1
if [ -e away ]; then echo "Cannot connect" >&2; exit 1; fi
case $1 in container|network|volume) set -- "$2" "$@";; esac
for last; do :; done
find() {
    awk -v n="$last" '$2 == n { exact = $0 } index($1, n) == 1 { other = $0; k++ }
        END { print exact ? exact : k == 1 ? other : "" }' held
}
line=$(find)
case $1 in
ls) awk -v p="${last#name=}" '$2 ~ p { print $1 }' held;;
kill|stop) [ -z "$line" ] || echo "$1 $line" >>done;;
inspect) [ -n "$line" ] && case "$*" in *State*) echo look >>done; exec cat state;; esac
    [ -n "$line" ] && echo "${line#* }";;
healthcheck) exit "$(cat well)";;
create) echo "create $last" >>done;;
rm) [ -n "$line" ] || exit 1; echo "$1 $line" >>done; grep -v "^$line$" held >left; mv left held;;
esac
"""


GONE = "4194305"
"""No process has this id: it is beyond the greatest."""


def made(tmp_path: Path, held: Sequence[str]) -> Engine:
    program = tmp_path / "engine"
    program.write_text(ENGINE)
    program.chmod(0o700)
    (tmp_path / "held").write_text("".join(f"{line}\n" for line in held))
    (tmp_path / "done").touch()
    (tmp_path / "sleep").symlink_to("/bin/true")
    return Engine("docker", str(program))


def execute(engine: Engine, text: str, option: str, unit: str = "web.service", **environ: str) -> subprocess.CompletedProcess[str]:
    """The first command of this option, with a `sleep` that takes no time."""
    file = parse(translate(unit, text, engine, {}, lambda path: True))
    (command, *_) = commands(file.values("Service", option)[0], Specifiers(name=unit))
    path = f"{Path(engine.program).parent}:{os.environ['PATH']}"
    return subprocess.run(arguments(command, {}), capture_output=True, text=True, timeout=30, check=False, env={"PATH": path, **environ})


DB = "[Container]\nImage=i\nContainerName=db\n"
DOTTED = "[Container]\nImage=i\nContainerName=web.1\n"
NETWORK = "[Network]\nNetworkName=db\nNetworkDeleteOnStop=yes\n"
OTHERS = ("db41c0 other", "c01 db2", "c02 mydb", "c03 web-1")
ENDED: Sequence[tuple[str, str, str, Sequence[str], Sequence[str]]] = [
    # sentence, text, option, further things there, what is done
    ("before the start nothing of others' is ended", DB, "ExecStartPre", [], []),
    ("nor at the stop", DB, "ExecStop", [], []),
    ("nor after it", DB, "ExecStopPost", [], []),
    ("what is left over is removed before the start", DB, "ExecStartPre", ["aaa db"], ["kill aaa db", "rm aaa db"]),
    ("its own is stopped", DB, "ExecStop", ["aaa db"], ["stop aaa db"]),
    ("and then removed", DB, "ExecStopPost", ["aaa db"], ["kill aaa db", "rm aaa db"]),
    ("a dot is no pattern", DOTTED, "ExecStopPost", ["aaa web.1"], ["kill aaa web.1", "rm aaa web.1"]),
    ("nor matches one", DOTTED, "ExecStopPost", [], []),
    ("others' networks stay", NETWORK, "ExecStopPost", [], []),
    ("a network of its own goes", NETWORK, "ExecStopPost", ["aaa db"], ["rm aaa db"]),
]


@pytest.mark.parametrize(("sentence", "text", "option", "more", "done"), ENDED, ids=[row[0] for row in ENDED])
def test_only_what_bears_the_exact_name_is_ended(
    sentence: str, text: str, option: str, more: Sequence[str], done: Sequence[str], tmp_path: Path
) -> None:
    engine = made(tmp_path, [*OTHERS, *more])
    ended = execute(engine, text, option)
    assert (ended.returncode, ended.stderr) == (0, ""), sentence
    assert (tmp_path / "done").read_text().splitlines() == list(done), sentence


@pytest.mark.parametrize("option", ["ExecStartPre", "ExecStopPost"])
def test_an_engine_that_is_away_leaves_nothing_clean(option: str, tmp_path: Path) -> None:
    engine = made(tmp_path, ["aaa db"])
    (tmp_path / "away").touch()
    ended = execute(engine, DB, option)
    assert ended.returncode == 1
    assert "does not answer, or does not remove db: it may still run" in ended.stderr


@pytest.mark.parametrize("kind", ["Volume", "Network"])
@pytest.mark.parametrize(("held", "done"), [("aaa db", []), ("db41c0 other", ["create db"])])
def test_a_volume_is_there_if_its_name_is_and_not_the_beginning_of_anothers(kind: str, held: str, done: list[str], tmp_path: Path) -> None:
    engine = made(tmp_path, [held])
    assert execute(engine, f"[{kind}]\n{kind}Name=db\n", "ExecStart", f"x-{kind.lower()}.service").returncode == 0
    assert (tmp_path / "done").read_text().splitlines() == done


WAITED: Sequence[tuple[str, str, str, dict[str, str], int]] = [
    # sentence, line, state of the container, environment, exit status
    ("a client that is gone starts nothing: its own status tells", "", "created", {"MAINPID": GONE}, 0),
    ("so does one that was gone before", "", "created", {}, 0),
    ("a container that runs has started", "", "running", {"MAINPID": GONE}, 0),
    ("one that never starts does not become healthy", "Notify=healthy", "created", {"MAINPID": GONE}, 1),
    ("nor does one without its client", "Notify=healthy", "running starting", {"MAINPID": GONE}, 1),
    ("one that is healthy is", "Notify=healthy", "running healthy", {}, 0),
]


@pytest.mark.parametrize(("sentence", "line", "state", "environ", "status"), WAITED, ids=[row[0] for row in WAITED])
@pytest.mark.parametrize("kind", ["docker", "podman"])
def test_a_start_is_waited_for_as_long_as_the_client_lives(
    sentence: str, line: str, state: str, environ: dict[str, str], status: int, kind: EngineKind, tmp_path: Path
) -> None:
    engine = msgspec.structs.replace(made(tmp_path, ["aaa db"]), kind=kind)
    (tmp_path / "state").write_text(f"{state if kind == 'docker' else state.partition(' ')[0]}\n")
    (tmp_path / "well").write_text("0" if state.endswith("healthy") else "1")
    ended = execute(engine, f"{DB}HealthCmd=true\n{line}\n", "ExecStartPost", **environ)
    assert ended.returncode == status, sentence
    assert (tmp_path / "done").read_text() == "look\n", "it waits no longer"


@pytest.mark.parametrize("line", ["", "Notify=healthy"])
def test_a_start_is_waited_for_while_the_client_lives(line: str, tmp_path: Path) -> None:
    engine = made(tmp_path, ["aaa db"])
    (tmp_path / "state").write_text("created\n")
    (tmp_path / "sleep").unlink()
    (tmp_path / "sleep").write_text("#!/bin/sh\necho running healthy >${0%/*}/state\n")
    (tmp_path / "sleep").chmod(0o700)
    ended = execute(engine, f"{DB}HealthCmd=true\n{line}\n", "ExecStartPost", MAINPID=str(os.getpid()))
    assert (ended.returncode, (tmp_path / "done").read_text()) == (0, "look\nlook\n")
