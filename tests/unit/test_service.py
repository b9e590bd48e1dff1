from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.errors import InvalidUnit
from argosy.unit.command import Command
from argosy.unit.parse import Problem, parse
from argosy.unit.service import EnvironmentFile, ServiceSpec, read_service, service
from argosy.unit.specifiers import Specifiers
from argosy.unit.values import FOREVER
from tests.unit import files

NAME = "web@1.service"
HERE = Specifiers(name=NAME, host="m1")


def spec(*lines: str, unit: str = "", start: str = "ExecStart=/bin/a") -> ServiceSpec:
    return service(NAME, parse("\n".join([f"[Unit]\n{unit}\n[Service]", start, *lines])), HERE)


A = Command("/bin/a", ("/bin/a",))
B = Command("/bin/b", ("/bin/b", "x"), ignore_failure=True)


def test_systemds_defaults() -> None:
    assert spec() == ServiceSpec(
        name=NAME,
        type="simple",
        start=(A,),
        umask=0o022,
        restart="no",
        restart_sec=0.1,
        start_limit_burst=5,
        start_limit_interval=10,
        timeout_start=90,
        timeout_stop=90,
        kill_signal=15,
        kill_mode="control-group",
        send_sigkill=True,
        remain_after_exit=False,
        notify_access="none",
    )


MEANINGS: list[tuple[str, list[str], dict[str, Any]]] = [
    ("a oneshot has no timeout to start", ["Type=oneshot"], {"type": "oneshot", "timeout_start": FOREVER}),
    ("unless it says one", ["Type=oneshot", "TimeoutStartSec=5"], {"type": "oneshot", "timeout_start": 5.0}),
    ("a notifying service is listened to", ["Type=notify"], {"type": "notify", "notify_access": "main"}),
    ("also if it says none", ["Type=notify", "NotifyAccess=none"], {"type": "notify", "notify_access": "main"}),
    ("or to all its processes", ["Type=notify", "NotifyAccess=all"], {"type": "notify", "notify_access": "all"}),
    ("exec", ["Type=exec"], {"type": "exec"}),
    ("a word that is no type is ignored", ["Type=exec", "Type=fancy", "Type="], {"type": "exec"}),
    ("environment, later assignments win", ["Environment=A=1 B=2", "Environment='A=x y'"], {"environment": (("A", "x y"), ("B", "2"))}),
    ("environment reset", ["Environment=A=1", "Environment=", "Environment=B=2"], {"environment": (("B", "2"),)}),
    (
        "environment files",
        ["EnvironmentFile=/etc/environment", "EnvironmentFile=-/etc//%p/./x/"],
        {"environment_files": (EnvironmentFile("/etc/environment"), EnvironmentFile("/etc/web/x", optional=True))},
    ),
    ("environment files reset", ["EnvironmentFile=/a", "EnvironmentFile="], {}),
    ("a relative environment file is ignored", ["EnvironmentFile=a", "EnvironmentFile=/a/../b"], {}),
    ("a working directory", ["WorkingDirectory=/srv//%i/"], {"working_directory": "/srv/1"}),
    ("one that may be missing", ["WorkingDirectory=-/srv"], {"working_directory": "/srv", "working_directory_optional": True}),
    ("home", ["WorkingDirectory=~"], {"working_directory": "~"}),
    ("nonsense that may be missing is ignored", ["WorkingDirectory=-srv"], {}),
    ("the root folder", ["WorkingDirectory=//"], {"working_directory": "/"}),
    ("user and group", ["User=%p", "Group=1000"], {"user": "web", "group": "1000"}),
    ("user reset", ["User=a", "User="], {}),
    ("umask", ["UMask=077", "UMask=9"], {"umask": 0o077}),
    (
        "all the other commands",
        [f"Exec{kind}=-/bin/b x" for kind in ("StartPre", "StartPost", "Reload", "Stop", "StopPost")],
        {"start_pre": (B,), "start_post": (B,), "reload": (B,), "stop": (B,), "stop_post": (B,)},
    ),
    (
        "commands repeat in order, the same one too",
        ["ExecStartPre=/bin/a", "ExecStartPre=-/bin/b x", "ExecStartPre=/bin/a"],
        {"start_pre": (A, B, A)},
    ),
    ("commands reset", ["ExecStop=/bin/a", "ExecStop=", "ExecStop=-/bin/b x"], {"stop": (B,)}),
    (
        "several commands of a oneshot",
        ["Type=oneshot", "ExecStart=-/bin/b x"],
        {"type": "oneshot", "timeout_start": FOREVER, "start": (A, B)},
    ),
    *(
        (f"restart {word}", [f"Restart={word}"], {"restart": word})
        for word in ("on-success", "on-failure", "on-abnormal", "on-abort", "always")
    ),
    ("a word that is no restart is ignored", ["Restart=always", "Restart=allways"], {"restart": "always"}),
    (
        "times",
        ["RestartSec=1min 30s", "TimeoutStartSec=30m", "TimeoutStopSec=500ms"],
        {"restart_sec": 90.0, "timeout_start": 1800.0, "timeout_stop": 0.5},
    ),
    ("both timeouts at once, 0 for none", ["TimeoutSec=0"], {"timeout_start": FOREVER, "timeout_stop": FOREVER}),
    ("what is no time is ignored", ["RestartSec=soon"], {}),
    (
        "start limits, as they once were in [Service]",
        ["StartLimitInterval=1min", "StartLimitBurst=2"],
        {"start_limit_interval": 60.0, "start_limit_burst": 2},
    ),
    ("the new spelling is not for [Service]", ["StartLimitIntervalSec=1min"], {}),
    (
        "signals and kill modes",
        ["KillSignal=SIGINT", "KillMode=mixed", "SendSIGKILL=no"],
        {"kill_signal": 2, "kill_mode": "mixed", "send_sigkill": False},
    ),
    ("kill mode reset", ["KillMode=process", "KillMode="], {}),
    ("remain after exit", ["RemainAfterExit=yes"], {"remain_after_exit": True}),
    (
        "success",
        ["SuccessExitStatus=3 TEMPFAIL SIGUSR1 300", "SuccessExitStatus=1"],
        {"success_statuses": (1, 3, 75), "success_signals": (10,)},
    ),
    ("success reset", ["SuccessExitStatus=3", "SuccessExitStatus="], {}),
]


@pytest.mark.parametrize(("sentence", "lines", "expected"), MEANINGS, ids=[row[0] for row in MEANINGS])
def test_a_service_says(sentence: str, lines: list[str], expected: dict[str, Any]) -> None:
    assert spec(*lines) == ServiceSpec(name=NAME, **{"start": (A,), **expected})


def test_the_unit_section() -> None:
    unit = "\n".join(
        [
            "Description=Web %i on %H",
            "BindsTo=db@%i.service",
            "Requires=a.service b.service",
            "PartOf=all.target",
            "After=a.service",
            "After=a.service c.service web@1.service nonsense",
            "StartLimitIntervalSec=20",
            "StartLimitBurst=0x3",
        ]
    )
    assert spec(unit=unit) == ServiceSpec(
        name=NAME,
        start=(A,),
        description="Web 1 on m1",
        binds_to=("db@1.service",),
        requires=("a.service", "b.service"),
        part_of=("all.target",),
        after=("a.service", "c.service"),
        start_limit_interval=20,
        start_limit_burst=3,
    )


REFUSED = [
    ("nothing to run", [], "", "a service needs ExecStart="),
    ("a simple service needs a start", ["Type=simple", "ExecStop=/bin/a"], "", "Type=simple needs ExecStart="),
    ("a oneshot without a start remains", ["ExecStop=/bin/a"], "", "needs RemainAfterExit=yes"),
    ("two starts of a simple service", ["ExecStart=/bin/b"], "ExecStart=/bin/a", "line 4: more than one ExecStart= command"),
    (
        "a oneshot cannot always restart",
        ["Type=oneshot", "Restart=always"],
        "ExecStart=/bin/a",
        "line 6: Restart=always is not for Type=oneshot",
    ),
    ("a relative executable", [], "ExecStart=bin/a", "line 4: ExecStart=: executable 'bin/a' is neither"),
    ("an unknown specifier", [], "ExecStart=/bin/a %F", "unknown specifier %F"),
    ("a relative working directory", ["WorkingDirectory=srv"], "ExecStart=/bin/a", "line 5: WorkingDirectory=srv is no absolute path"),
    ("a path that climbs", ["WorkingDirectory=/srv/../etc"], "ExecStart=/bin/a", "is no absolute path without '..'"),
    ("a user that cannot be", ["User=a/b"], "ExecStart=/bin/a", "'a/b' is no name or number of a user"),
    ("a user of 5000 digits", ["User=" + "1" * 5000], "ExecStart=/bin/a", "is no name or number of a user"),
    ("a forking service", ["Type=forking"], "ExecStart=/bin/a", "line 5: the supervisor does not honour Type=forking"),
    ("a service on the bus", ["Type=dbus"], "ExecStart=/bin/a", "does not honour Type=dbus"),
    ("credentials", [], "ExecStart=/bin/a %d/key", "stands for credentials, which the supervisor does not have"),
    ("credentials in the environment", ["Environment=A=%d"], "ExecStart=/bin/a", "stands for credentials"),
]


@pytest.mark.parametrize(("sentence", "lines", "start", "message"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_cannot_run_is_refused(sentence: str, lines: list[str], start: str, message: str) -> None:
    with pytest.raises(InvalidUnit) as caught:
        spec(*lines, start=start)
    assert message in str(caught.value)
    assert str(caught.value).startswith("web@1.service: ")
    assert len(str(caught.value)) < 300


def test_a_oneshot_that_only_stops_may_remain() -> None:
    assert spec("RemainAfterExit=yes", "ExecStop=/bin/a", start="").type == "oneshot"


def test_what_systemd_ignores_is_told_with_its_line() -> None:
    text = "[Service]\nExecStart=/bin/a \\q\nRestart=x\nEnvironment=1\nRestartSec=y\nSuccessExitStatus=300\nEnvironmentFile=z\n"
    problems = read_service(NAME, parse(text), HERE)[1]
    assert [problem.line for problem in problems] == [2, 3, 4, 5, 6, 7]
    assert all(problem.severity == "warning" for problem in problems)
    assert problems[1] == Problem(
        3, "warning", "Restart=x is ignored: 'x' is none of no, on-success, on-failure, on-abnormal, on-watchdog, on-abort, always"
    )


@pytest.mark.parametrize(("name", "text"), files.FILES)
def test_the_unit_files_that_people_run_can_be_run(name: str, text: str) -> None:
    name = name.replace("@.", "@1.")
    found = service(name, parse(text), Specifiers(name=name))
    assert found.description
    assert len(found.start) == 1
    assert found.stop


def test_the_applications_start_may_take_half_an_hour() -> None:
    found = service("a@1.service", parse(files.APP_WITH_TIMEOUT), Specifiers(name="a@1.service"))
    assert found.timeout_start == 1800
    assert found.after == ("router.service",)
    assert [command.argv[1] for command in found.stop_post] == ["kill", "rm"]


ENDS = [
    ("simple", 0, None, True, True),
    ("simple", 3, None, True, True),
    ("simple", 1, None, True, False),
    ("simple", None, 15, True, True),
    ("simple", None, 9, True, False),
    ("simple", None, 10, True, True),
    ("simple", None, 15, False, False),
    ("oneshot", None, 15, True, False),
    ("oneshot", 0, None, True, True),
]


@pytest.mark.parametrize(("kind", "status", "signal", "main", "expected"), ENDS)
def test_success_is_what_systemd_calls_so(kind: str, status: int | None, signal: int | None, main: bool, expected: bool) -> None:
    found = spec(f"Type={kind}", "SuccessExitStatus=3 SIGUSR1")
    assert found.is_success(status, signal, main=main) is expected


RESULTS = ("success", "exit-code", "signal", "core-dump", "watchdog", "timeout")
RESTARTS = [
    ("no", set()),
    ("always", set(RESULTS)),
    ("on-success", {"success"}),
    ("on-failure", {"exit-code", "signal", "core-dump", "watchdog", "timeout"}),
    ("on-abnormal", {"signal", "core-dump", "watchdog", "timeout"}),
    ("on-abort", {"signal", "core-dump"}),
    ("on-watchdog", {"watchdog"}),
]


@pytest.mark.parametrize(("restart", "expected"), RESTARTS)
def test_restart_applies_to_results_as_in_systemds_table(restart: str, expected: set[str]) -> None:
    assert {result for result in RESULTS if spec(f"Restart={restart}").restarts_after(result)} == expected


LINES = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "Type",
                "Restart",
                "RestartSec",
                "ExecStart",
                "ExecStop",
                "User",
                "UMask",
                "WorkingDirectory",
                "SuccessExitStatus",
                "KillSignal",
            ]
        ),
        st.sampled_from(["", "oneshot", "always", "5", "/bin/true", "-x/y", "~", "%p", "%F", "%d", "SIGKILL", "022", "'"]),
    ),
    max_size=8,
)


@given(LINES)
def test_any_service_can_be_run_or_is_refused_with_lines(pairs: list[tuple[str, str]]) -> None:
    file = parse("[Service]\n" + "\n".join(f"{name}={value}" for name, value in pairs))
    found, problems = read_service(NAME, file, HERE)
    assert found.start or found.stop or any(problem.severity == "error" for problem in problems)
    assert found.restart_sec >= 0
    assert all(0 <= problem.line <= len(pairs) + 1 for problem in problems)
