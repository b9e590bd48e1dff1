from __future__ import annotations

from pathlib import Path

import pytest

from argosy.unit.verify import verify
from tests.unit import files


def told(text: str, name: str = "web.service") -> list[str]:
    return [f"{problem.severity} {problem}" for problem in verify(name, text)]


SERVICE = "[Service]\nExecStart=/bin/true\n"


def test_nothing_is_told_of_a_plain_unit() -> None:
    assert told("[Unit]\nDescription=x\n" + SERVICE + "Restart=always\n[X-Fleet]\nConflicts=web@*.service\n") == []


TOLD = [
    (
        "fleet's unknown key",
        SERVICE + "[X-Fleet]\nConflict=a\n",
        'error line 4: unrecognized requirement in [X-Fleet] section: "Conflict"; did you mean Conflicts=?',
    ),
    (
        "our unknown key",
        SERVICE + "[X-Argosy]\nOn=x\n",
        "error line 4: unknown key 'On' in [X-Argosy]; it knows OnDisconnect, Update, Keys",
    ),
    (
        "a combination, at the line of the first",
        SERVICE + "[X-Fleet]\nGlobal=true\nMachineOf=a.service\n",
        "error line 4: Global cannot be used with Peers",
    ),
    (
        "a malformed glob at its line",
        SERVICE + "[X-Fleet]\nMachineMetadata=a=b\nConflicts=[\n",
        "error line 5: malformed glob '[': a class is not closed with ']'",
    ),
    (
        "a deprecated spelling",
        SERVICE + "[X-Fleet]\nX-ConditionMachineOf=a.service\n",
        "warning line 4: X-ConditionMachineOf= is deprecated; write MachineOf=",
    ),
    (
        "metadata that is ignored",
        SERVICE + "[X-Fleet]\nMachineMetadata=a=b c=d\n",
        'warning line 4: \'a=b c=d\' is no key=value pair and is ignored, as fleet does; write several pairs as "a=b" "c=d"',
    ),
    (
        "a glob where names are exact",
        SERVICE + "[X-Fleet]\nMachineOf=a@*.service\n",
        "warning line 4: MachineOf=a@*.service: names are exact here, no globs, so no unit will match",
    ),
    (
        "a peer without a type",
        SERVICE + "[X-Fleet]\nMachineOf=db\n",
        "warning line 4: MachineOf=db: the name has no type; did you mean db.service?",
    ),
    (
        "two peers on a line",
        SERVICE + "[X-Fleet]\nMachineOf=a.service b.service\n",
        "warning line 4: MachineOf takes 'a.service b.service' for one name; write several each in quotes, or on lines of their own",
    ),
    (
        "a machine id that is none",
        SERVICE + "[X-Fleet]\nMachineID=m1\n",
        "warning line 4: 'm1' is no machine id: 32 lower-case hexadecimal digits, or the first 8 of them",
    ),
    (
        "a second machine id",
        SERVICE + "[X-Fleet]\nMachineID=01234567\nMachineID=89abcdef\n",
        "warning line 5: only the first MachineID= counts",
    ),
    ("a global that is not", SERVICE + "[X-Fleet]\nGlobal=y\n", "warning line 4: Global=y means no; yes is written true, yes, 1, on or t"),
    (
        "a reset that fleet would not do",
        SERVICE + "[X-Fleet]\nConflicts=\n",
        "warning line 4: the empty Conflicts= resets the values before it; fleet did not do that",
    ),
    ("a typing error", SERVICE + "Restrat=always\n", "warning line 3: unknown directive Restrat= in [Service]; did you mean Restart=?"),
    ("wrong case", SERVICE + "execstop=/bin/a\n", "warning line 3: unknown directive execstop= in [Service]; did you mean ExecStop=?"),
    (
        "a directive of another section",
        "[Unit]\nRestart=no\n" + SERVICE,
        "warning line 2: unknown directive Restart= in [Unit]; it belongs in [Service]",
    ),
    (
        "fleet's directive in [Unit]",
        "[Unit]\nMachineOf=a.service\n" + SERVICE,
        "warning line 2: unknown directive MachineOf= in [Unit]; it belongs in [X-Fleet]",
    ),
    ("a section that nobody knows", SERVICE + "[XFleet]\nA=b\n", "warning line 4: unknown section [XFleet]; did you mean X-Fleet?"),
    (
        "what only systemd honours",
        SERVICE + "MemoryMax=1G\n",
        "warning line 3: MemoryMax= in [Service] is accepted by systemd, ignored by the supervisor",
    ),
    (
        "install sections too",
        SERVICE + "[Install]\nWantedBy=multi-user.target\n",
        "warning line 4: WantedBy= in [Install] is accepted by systemd, ignored by the supervisor",
    ),
    (
        "a shell's operator without a shell",
        SERVICE + "ExecStop=/bin/a && /bin/b\n",
        "warning line 3: ExecStop=: '&&' reaches the program as an argument, as there is no shell; use /bin/sh -c '...'",
    ),
    (
        "processes left behind",
        SERVICE + "KillMode=none\n",
        "warning line 3: KillMode=none leaves processes behind; use mixed or control-group",
    ),
    ("a type that is taken for another", SERVICE + "Type=idle\n", "warning line 3: the supervisor takes Type=idle for simple"),
    (
        "an instance where there is none",
        SERVICE + "ExecStop=/bin/a %i\n",
        "warning line 3: ExecStop=: %i is empty, as web.service is no instance of a template",
    ),
    (
        "a forking service",
        SERVICE + "Type=forking\n",
        "warning line 3: the supervisor does not honour Type=forking; let the program stay in the foreground, as Type=simple or notify",
    ),
    ("bare assignments", "Description=x\n" + SERVICE, "warning line 1: assignment before any section header; it counts as [Unit]"),
    ("a line that is nothing", SERVICE + "what\n", "error line 3: 'what' lacks '='; a line is a [Section], Name=Value or a # comment"),
    ("a service without a section", "[Unit]\nDescription=x\n", "error a service needs a [Service] section"),
    ("a service without a start", "[Service]\nExecStop=/bin/a\nType=simple\n", "error line 3: Type=simple needs ExecStart="),
    ("an empty file", "", "error the file is empty"),
    (
        "a section in the wrong case that systemd leaves to others",
        SERVICE + "[X-fleet]\nGlobal=true\n",
        "warning line 4: [X-fleet] is ignored; did you mean [X-Fleet]?",
    ),
    ("a plural", SERVICE + "[X-Fleets]\nGlobal=true\n", "warning line 4: [X-Fleets] is ignored; did you mean [X-Fleet]?"),
    ("a blank before the bracket", SERVICE + "[X-Fleet ]\nGlobal=true\n", "warning line 4: [X-Fleet ] is ignored; did you mean [X-Fleet]?"),
    ("an underscore", SERVICE + "[X_Fleet]\nGlobal=true\n", "warning line 4: unknown section [X_Fleet]; did you mean X-Fleet?"),
    (
        "a container that may not write keys though its unit may",
        "[Service]\nExecStart=/usr/bin/docker run --rm --name %p web\n[X-Argosy]\nKeys=write\n",
        "warning line 4: Keys=write does not reach the container of ExecStart=; run it with --label argosy.keys=write",
    ),
    ("ours, nearly", SERVICE + "[X-ARGOSY]\nUpdate=rolling\n", "warning line 4: [X-ARGOSY] is ignored; did you mean [X-Argosy]?"),
    (
        "Quadlet's section, nearly",
        SERVICE + "[Contianer]\nImage=i\n",
        "warning line 4: unknown section [Contianer]; did you mean Container?",
    ),
    (
        "a comparison where only equality is known",
        SERVICE + "[X-Fleet]\nMachineMetadata=ram>=2048\n",
        "warning line 4: MachineMetadata=ram>=2048 asks for a key called 'ram>': only key=value, equality, is known",
    ),
    (
        "a negation",
        SERVICE + "[X-Fleet]\nMachineMetadata=role!=db\n",
        "warning line 4: MachineMetadata=role!=db asks for a key called 'role!': only key=value, equality, is known",
    ),
    (
        "blanks around a pair's =",
        SERVICE + "[X-Fleet]\nMachineMetadata=role = db\n",
        "warning line 4: MachineMetadata=role = db: the blanks around = belong to the key and the value; leave them out",
    ),
    (
        "globs with commas",
        SERVICE + "[X-Fleet]\nConflicts=a.service,b.service\n",
        "warning line 4: Conflicts=a.service,b.service: a comma is in no unit's name; write several on lines of their own",
    ),
    (
        "a command in a command",
        SERVICE + "ExecStop=/bin/kill $(cat /run/x.pid)\n",
        "warning line 3: ExecStop=: '$(cat' is not run, as there is no shell; use /bin/sh -c '...'",
    ),
    (
        "the same in backticks",
        SERVICE + "ExecStop=/bin/kill `pidof`\n",
        "warning line 3: ExecStop=: '`pidof`' is not run, as there is no shell; use /bin/sh -c '...'",
    ),
    (
        "a default for a variable",
        SERVICE + "ExecStop=/bin/a ${PORT:-80}\n",
        "warning line 3: ExecStop=: '${PORT:-80}' is not replaced, as there is no shell; use /bin/sh -c '...'",
    ),
    (
        "a redirection without a blank",
        SERVICE + "ExecStop=/bin/a 2>/dev/null\n",
        "warning line 3: ExecStop=: '2>/dev/null' reaches the program as an argument, as there is no shell; use /bin/sh -c '...'",
    ),
    (
        "a semicolon that separates nothing",
        SERVICE + "ExecStop=/bin/a x; /bin/b\n",
        "warning line 3: ExecStop=: 'x;' reaches the program as an argument, as there is no shell; use /bin/sh -c '...'",
    ),
    (
        "a home folder",
        SERVICE + "ExecStop=/bin/a ~/x\n",
        "warning line 3: ExecStop=: '~/x' is not replaced by a home folder, as there is no shell; use %h or the whole path",
    ),
    (
        "a variable in front of the program",
        SERVICE + "ExecStop=A=1 /bin/a\n",
        "warning line 3: ExecStop=: 'A=1' is taken for the program, as there is no shell; write Environment=A=...",
    ),
    (
        "a command in a variable",
        SERVICE + "Environment=IP=$(hostname)\n",
        "warning line 3: Environment=: '$(hostname)' stays as it is: no shell runs it",
    ),
    ("backticks in a variable", SERVICE + "Environment=IP=`id`\n", "warning line 3: Environment=: '`id`' stays as it is: no shell runs it"),
    (
        "a variable in a variable",
        SERVICE + "Environment=P=${HOME}/x\n",
        "warning line 3: Environment=: '${HOME}' stays as it is: variables are not replaced here",
    ),
    (
        "a value that systemd ignores",
        SERVICE + "RestartSec=soon\n",
        "warning line 3: RestartSec=soon is ignored: 'soon': a time span is written such as 90, 1min 30s, 500ms, 1.5h or infinity",
    ),
]


@pytest.mark.parametrize("label", ["--label argosy.keys=write ", "--label=argosy.keys=write "])
def test_a_container_that_has_the_label_is_not_warned_of(label: str) -> None:
    assert verify("a.service", f"[Service]\nExecStart=/usr/bin/docker run {label}web\n[X-Argosy]\nKeys=write\n") == ()


@pytest.mark.parametrize(("sentence", "text", "expected"), TOLD, ids=[row[0] for row in TOLD])
def test_one_thing_is_told(sentence: str, text: str, expected: str) -> None:
    assert told(text) == [expected]


NO_SHELL_NEEDED = [
    ("a shell of the command's own", "/bin/sh -c 'a && b > /dev/null; kill $(cat x)'"),
    ("with more options", "/bin/bash -l -ec 'a | b'"),
    ("in a container", "/usr/bin/docker exec x sh -c 'echo `id`'"),
    ("on another machine", "/usr/bin/ssh host a && b"),
    ("a word with a semicolon at its end", "/usr/sbin/nginx -g 'daemon off;' -c x"),
    ("variables that systemd replaces", "/bin/a $HOME ${HOME} $$"),
    ("comparisons", "/usr/bin/pip install x>=1.0"),
    ("find's semicolon", "/usr/bin/find . -exec ls {} \\; -print"),
]


@pytest.mark.parametrize(("sentence", "command"), NO_SHELL_NEEDED, ids=[row[0] for row in NO_SHELL_NEEDED])
def test_command_without_shell_syntax_gets_no_warning(sentence: str, command: str) -> None:
    assert told(f"[Service]\nExecStart={command}\n") == []


def test_service_that_only_acts_on_success_needs_no_command() -> None:
    text = "[Unit]\nDefaultDependencies=no\nSuccessAction=poweroff-force\n"
    assert [str(problem) for problem in verify("off.service", text, {"systemd"})] == []
    assert [str(problem) for problem in verify("off.service", text + "[Service]\nType=oneshot\n", {"systemd"})] == []
    assert any("does not honour SuccessAction=" in line for line in told(text))
    assert "error a service needs a [Service] section" in told("[Unit]\nSuccessAction=none\n")


def test_runtime_decides_which_directives_are_warned_of() -> None:
    text = SERVICE + "MemoryMax=1G\nType=idle\n[Install]\nWantedBy=multi-user.target\n"
    assert verify("a.service", text, {"systemd"}) == ()
    assert [problem.line for problem in verify("a.service", text, {"supervisor"})] == [3, 4, 6]
    assert verify("a.timer", "[Timer]\nOnBootSec=1\n", {"systemd"}) == ()


DEBIANS = [path for path in Path("/lib/systemd/system").glob("*") if path.is_file() and not path.is_symlink()]


@pytest.mark.skipif(not DEBIANS, reason="no unit files of the distribution on this host")
def test_units_of_the_distribution_are_good_under_systemd() -> None:
    found = {path.name: [str(problem) for problem in verify(path.name, path.read_bytes(), {"systemd"})] for path in DEBIANS}
    assert {name: told for name, told in found.items() if told} == {}


def test_everything_is_told_in_the_order_of_lines() -> None:
    found = verify("Bad name", "Description=x\n[Service]\nfoo\nMemoryMax=1\nExecStart=bin/a\n[X-Fleet]\nZ=1\nY=2\n")
    assert [(problem.line, problem.severity) for problem in found] == [
        *((0, "error"), (0, "warning"), (1, "warning"), (3, "error"), (4, "warning"), (7, "error"), (8, "error")),
    ]


def test_what_is_no_text_is_one_error() -> None:
    assert told("\0") == ["error line 1: a NUL byte; this is a binary file, not a unit file"]
    assert len(told("x" * 1_000_000)) == 1


def test_the_supervisor_runs_services_only() -> None:
    assert told("[Timer]\nOnBootSec=1\n", "a.timer") == [
        "warning the supervisor runs services only; a timer needs machines with systemd",
        "warning line 2: OnBootSec= in [Timer] is accepted by systemd, ignored by the supervisor",
    ]
    assert "error a timer needs a [Timer] section" in told(SERVICE, "a.timer")


@pytest.mark.parametrize(("name", "text"), files.FILES)
def test_the_unit_files_that_people_run_are_fine_but_for_bare_assignments(name: str, text: str) -> None:
    assert {problem.message for problem in verify(name, text)} <= {"assignment before any section header; it counts as [Unit]"}


def test_a_template_is_verified_as_if_it_had_an_instance() -> None:
    text = "[Service]\nExecStart=/bin/%i\nUser=%i\nEnvironmentFile=/etc/%i\n"
    assert told(text, "a@.service") == []
    assert len(told(text, "a.service")) >= 3


def test_a_file_of_oddities_is_told_in_little_time() -> None:
    found = verify("a.service", SERVICE + "".join(f"Restar{number}=x\n" for number in range(15_000)))
    assert len(found) == 15_000
    assert "did you mean Restart=?" in found[0].message
    assert "did you mean" not in found[-1].message
