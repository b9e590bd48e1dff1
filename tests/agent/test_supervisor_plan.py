"""A unit's life as the supervisor decides it: systemd's states, in tables."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.agent.supervise.plan import count_start, judge, step
from argosy.agent.supervise.states import (
    AT_REST,
    UNKNOWN,
    Action,
    Elapsed,
    Empty,
    Event,
    Exit,
    Exited,
    Kill,
    Moment,
    Notified,
    NotSpawned,
    Pid,
    Reload,
    Run,
    Signal,
    Spawn,
    Spawned,
    Start,
    Stop,
    Sub,
    active,
)
from argosy.unit.parse import parse
from argosy.unit.service import ServiceSpec, service
from argosy.unit.specifiers import Specifiers

EVENTS: dict[str, Event] = {
    "start": Start("1" * 32),
    "stop": Stop(),
    "kill": Kill(),
    "reload": Reload(),
    "empty": Empty(),
    "elapsed": Elapsed(),
    "ready": Notified(ready=True),
    "stopping": Notified(stopping=True),
    "reloading": Notified(reloading=True),
    "main 0": Exited("main", Exit("exited", 0)),
    "main 1": Exited("main", Exit("exited", 1)),
    "main TERM": Exited("main", Exit("killed", 15, "TERM")),
    "main KILL": Exited("main", Exit("killed", 9, "KILL")),
    "main ABRT dumped": Exited("main", Exit("dumped", 6, "ABRT")),
    "main lost": Exited("main", UNKNOWN),
    "control 0": Exited("control", Exit("exited", 0)),
    "control 1": Exited("control", Exit("exited", 1)),
    "main not there": NotSpawned("main", Exit("exited", 203), "no such program"),
    "no resources": NotSpawned("main", Exit("exited", 203), "no such environment file", "resources"),
}


def spec_of(*lines: str) -> ServiceSpec:
    text = "\n".join(("[Service]", *lines, "" if any(line.startswith("ExecStart=") for line in lines) else "ExecStart=/bin/main"))
    return service("a.service", parse(text), Specifiers("a.service"))


class Life:
    """A unit that is taken from event to event; what it spawns gets the next number at once, or is refused if that was said before."""

    def __init__(self, spec: ServiceSpec, run: Run | None = None) -> None:
        self.spec = spec
        self.run = run or Run()
        self.now = 1000.0
        self.pid = 100
        self.did: list[str] = []
        self.refused: NotSpawned | None = None

    def take(self, event: Event) -> None:
        self.run, actions = step(self.spec, self.run, event, Moment(self.now, 1_700_000_000.0 + self.now))
        for action in actions:
            self._do(action)

    def _do(self, action: Action) -> None:
        if isinstance(action, Spawn):
            self.did.append(f"{action.list} {action.index}")
            self.pid += 1
            refused, self.refused = self.refused, None
            self.take(refused or Spawned(action.role, Pid(self.pid, 1)))
        elif isinstance(action, Signal):
            self.did.append(f"{action.number} to {action.whom}")

    def follow(self, events: str) -> Life:
        for word in filter(None, (part.strip() for part in events.split(","))):
            event = EVENTS[word]
            if isinstance(event, NotSpawned):
                self.refused = event
            else:
                self.take(event)
        return self


LIVES: Sequence[tuple[str, Sequence[str], str, str, str, str]] = [
    # sentence, settings, what happens, sub, result, what was done
    ("a simple service runs as soon as it is spawned", (), "start", "running", "success", "start 0"),
    ("so does one of type exec", ("Type=exec",), "start", "running", "success", "start 0"),
    ("a notifying one starts until it says that it is ready", ("Type=notify",), "start", "start", "success", "start 0"),
    ("... and then runs", ("Type=notify",), "start, ready", "running", "success", "start 0"),
    ("one that ends before it is ready broke the protocol", ("Type=notify",), "start, main 0, empty, empty", "failed", "protocol", ""),
    ("a oneshot starts until it has ended", ("Type=oneshot",), "start", "start", "success", "start 0"),
    ("... and is then dead", ("Type=oneshot",), "start, main 0, empty, empty", "dead", "success", ""),
    ("... or remains", ("Type=oneshot", "RemainAfterExit=yes"), "start, main 0", "exited", "success", "start 0"),
    (
        "a oneshot runs its commands one after the other",
        ("Type=oneshot", "ExecStart=/bin/a", "ExecStart=/bin/b"),
        "start, main 0",
        "start",
        "success",
        "start 0, start 1",
    ),
    (
        "... until one fails",
        ("Type=oneshot", "ExecStart=/bin/a", "ExecStart=/bin/b"),
        "start, main 1, empty, empty",
        "failed",
        "exit-code",
        "start 0, 15 to group, 15 to group",
    ),
    (
        "... unless that is forgiven",
        ("Type=oneshot", "ExecStart=-/bin/a", "ExecStart=/bin/b"),
        "start, main 1, main 0, empty, empty",
        "dead",
        "success",
        "start 0, start 1, 15 to group, 15 to group",
    ),
    (
        "commands before the start come first",
        ("ExecStartPre=/bin/a", "ExecStartPre=/bin/b"),
        "start",
        "start-pre",
        "success",
        "start_pre 0",
    ),
    (
        "... all of them",
        ("ExecStartPre=/bin/a", "ExecStartPre=/bin/b"),
        "start, control 0, control 0",
        "running",
        "success",
        "start_pre 0, start_pre 1, start 0",
    ),
    (
        "one that fails ends the start, and what is to be cleaned up is",
        ("ExecStartPre=/bin/a", "ExecStop=/bin/s", "ExecStopPost=/bin/p"),
        "start, control 1, empty, control 0, empty",
        "failed",
        "exit-code",
        "start_pre 0, 15 to group, stop_post 0, 15 to group",
    ),
    ("a forgiven one does not", ("ExecStartPre=-/bin/a",), "start, control 1", "running", "success", "start_pre 0, start 0"),
    ("commands after the start belong to it", ("ExecStartPost=/bin/a",), "start", "start-post", "success", "start 0, start_post 0"),
    ("... and then it runs", ("ExecStartPost=/bin/a",), "start, control 0", "running", "success", ""),
    ("... or goes down again if they fail", ("ExecStartPost=/bin/a",), "start, control 1", "stop-sigterm", "exit-code", ""),
    (
        "a main process that ends meanwhile is noticed when they are done",
        ("ExecStartPost=/bin/a",),
        "start, main 1, control 0",
        "stop-sigterm",
        "exit-code",
        "",
    ),
    ("a service that ends well is dead", (), "start, main 0, empty, empty", "dead", "success", "start 0, 15 to group, 15 to group"),
    (
        "... after its stop commands",
        ("ExecStop=/bin/s",),
        "start, main 0, control 0, empty, empty",
        "dead",
        "success",
        "start 0, stop 0, 15 to group, 15 to group",
    ),
    (
        "one that fails skips the stop commands",
        ("ExecStop=/bin/s",),
        "start, main 1, empty, empty",
        "failed",
        "exit-code",
        "start 0, 15 to group, 15 to group",
    ),
    ("ending by SIGTERM is ending well", (), "start, main TERM, empty, empty", "dead", "success", ""),
    ("... but not for a oneshot", ("Type=oneshot",), "start, main TERM, empty, empty", "failed", "signal", ""),
    ("ending by SIGKILL is failing", (), "start, main KILL, empty, empty", "failed", "signal", ""),
    ("a core dump is its own result", (), "start, main ABRT dumped, empty, empty", "failed", "core-dump", ""),
    ("an end that nobody saw is a failure", (), "start, main lost, empty, empty", "failed", "exit-code", ""),
    ("... unless it had been asked for", (), "start, stop, main lost, empty", "dead", "success", ""),
    ("a program that is not there fails the start", (), "main not there, start, empty, empty", "failed", "exit-code", ""),
    ("... also where it is forgiven, but then well", ("ExecStart=-/bin/a",), "main not there, start, empty, empty", "dead", "success", ""),
    ("a missing environment file is a matter of resources", (), "no resources, start, empty, empty", "failed", "resources", ""),
    ("a stop asks first", (), "start, stop", "stop-sigterm", "success", "start 0, 15 to group"),
    ("... with the signal that the unit names", ("KillSignal=SIGINT",), "start, stop", "stop-sigterm", "success", "start 0, 2 to group"),
    ("... looks once more for others of the group", (), "start, stop, main TERM", "final-sigterm", "success", ""),
    ("... and is done when nobody is left", (), "start, stop, main TERM, empty", "dead", "success", ""),
    ("... then kills", (), "start, stop, elapsed", "stop-sigkill", "timeout", "start 0, 15 to group, 9 to group"),
    ("... which counts as a failure", (), "start, stop, elapsed, main KILL, empty", "failed", "timeout", ""),
    (
        "... unless it may not",
        ("SendSIGKILL=no",),
        "start, stop, elapsed, elapsed",
        "failed",
        "timeout",
        "start 0, 15 to group, 15 to group",
    ),
    ("what cannot be killed is given up", (), "start, stop, elapsed, elapsed, elapsed, elapsed", "failed", "timeout", ""),
    (
        "stop commands run before any signal",
        ("ExecStop=/bin/s", "ExecStopPost=/bin/p"),
        "start, stop, control 0, main TERM, control 0, empty",
        "dead",
        "success",
        "start 0, stop 0, 15 to group, stop_post 0, 15 to group",
    ),
    ("a stop command that takes too long is not waited for", ("ExecStop=/bin/s",), "start, stop, elapsed", "stop-sigterm", "timeout", ""),
    (
        "one that fails makes the stop a failure",
        ("ExecStop=/bin/s",),
        "start, stop, control 1, main TERM, empty",
        "failed",
        "exit-code",
        "",
    ),
    ("a stop while starting skips the stop commands", ("Type=notify", "ExecStop=/bin/s"), "start, stop", "stop-sigterm", "success", ""),
    ("a start that takes too long fails", ("Type=notify",), "start, elapsed, main TERM, empty", "failed", "timeout", ""),
    (
        "KillMode=process tells the main process only",
        ("KillMode=process",),
        "start, stop",
        "stop-sigterm",
        "success",
        "start 0, 15 to main",
    ),
    ("... and leaves the others", ("KillMode=process",), "start, stop, main TERM, empty", "dead", "success", ""),
    (
        "KillMode=mixed asks the main process and kills the rest",
        ("KillMode=mixed",),
        "start, stop, main TERM, empty, empty",
        "dead",
        "success",
        "start 0, 15 to main, 15 to main, 9 to group",
    ),
    ("KillMode=none tells nobody", ("KillMode=none",), "start, stop", "dead", "success", "start 0"),
    ("a kill is at once, and for all", ("KillMode=process",), "start, kill", "stop-sigkill", "success", "start 0, 9 to group"),
    ("... and nothing restarts", ("Restart=always",), "start, kill, main KILL, empty", "failed", "signal", ""),
    ("... but is cleaned up after", ("ExecStopPost=/bin/p",), "start, kill, main KILL", "stop-post", "signal", ""),
    ("a kill ends a restart that waits", ("Restart=always",), "start, main 1, empty, empty, kill", "dead", "success", ""),
    ("a unit restarts if it shall", ("Restart=always",), "start, main 1, empty, empty", "auto-restart", "exit-code", ""),
    ("... not when it was stopped", ("Restart=always",), "start, stop, main TERM, empty", "dead", "success", ""),
    ("... and a stop ends the waiting", ("Restart=always",), "start, main 1, empty, empty, stop", "dead", "success", ""),
    ("... whose next start is as good as new", ("Restart=always",), "start, main 1, empty, empty, start", "running", "success", ""),
    ("reloading runs its commands", ("ExecReload=/bin/r",), "start, reload", "reload", "success", "start 0, reload 0"),
    ("... and running goes on, even if they fail", ("ExecReload=/bin/r",), "start, reload, control 1", "running", "success", ""),
    ("... or take too long", ("ExecReload=/bin/r",), "start, reload, elapsed", "running", "success", "start 0, reload 0, 9 to control"),
    ("nothing to reload with changes nothing", (), "start, reload", "running", "success", "start 0"),
    ("a unit may say that it reloads", ("Type=notify",), "start, ready, reloading", "reload", "success", ""),
    ("... and that it is done", ("Type=notify",), "start, ready, reloading, ready", "running", "success", ""),
    ("a unit may say that it stops", ("Type=notify",), "start, ready, stopping", "stop-sigterm", "success", "start 0"),
    (
        "nothing is to be run, and it remains",
        ("Type=oneshot", "RemainAfterExit=yes", "ExecStart=", "ExecStop=/b"),
        "start",
        "exited",
        "success",
        "",
    ),
    ("stopping what is dead changes nothing", (), "stop", "dead", "success", ""),
    ("starting what runs changes nothing", (), "start, start", "running", "success", "start 0"),
]


@pytest.mark.parametrize(("sentence", "settings", "events", "sub", "result", "did"), LIVES, ids=[row[0] for row in LIVES])
def test_lives(sentence: str, settings: Sequence[str], events: str, sub: str, result: str, did: str) -> None:
    life = Life(spec_of(*settings)).follow(events)
    assert (life.run.sub, life.run.result) == (sub, result), sentence
    if did:
        assert ", ".join(life.did) == did


@pytest.mark.parametrize(
    ("policy", "again"),
    [
        ("no", ""),
        ("always", "success exit-code signal core-dump timeout"),
        ("on-success", "success"),
        ("on-failure", "exit-code signal core-dump timeout"),
        ("on-abnormal", "signal core-dump timeout"),
        ("on-abort", "signal core-dump"),
        ("on-watchdog", ""),
    ],
)
def test_restart_follows_the_table_of_systemd(policy: str, again: str) -> None:
    endings = {
        "success": "start, ready, main 0, empty, empty",
        "exit-code": "start, ready, main 1, empty, empty",
        "signal": "start, ready, main KILL, empty, empty",
        "core-dump": "start, ready, main ABRT dumped, empty, empty",
        "timeout": "start, elapsed, main TERM, empty",
    }
    spec = spec_of("Type=notify", f"Restart={policy}")
    restarted = [result for result, events in endings.items() if Life(spec).follow(events).run.sub is Sub.AUTO_RESTART]
    assert " ".join(restarted) == again


def test_a_restart_waits_as_long_as_the_unit_says_and_is_counted() -> None:
    life = Life(spec_of("Restart=always", "RestartSec=7"))
    life.follow("start, main 1, empty, empty")
    assert life.run.deadline == life.now + 7
    life.follow("start, main 1, empty, empty, start")
    assert (life.run.restarts, life.run.sub) == (2, Sub.RUNNING)


LIMITS: Sequence[tuple[str, Sequence[str], Sequence[float], str]] = [
    ("five starts in ten seconds are the most", (), (0, 1, 2, 3, 4, 5), "yyyyyn"),
    ("... counted from the first of them", (), (0, 1, 2, 3, 4, 10.5), "yyyyyy"),
    ("a refused start does not begin the time anew", (), (0, 1, 2, 3, 4, 9, 10.5), "yyyyyny"),
    ("the unit may say how many in what time", ("StartLimitBurst=1", "StartLimitInterval=60"), (0, 59, 61), "yny"),
    ("no interval is no limit", ("StartLimitInterval=0",), (0,) * 20, "y" * 20),
    ("no burst is no limit either", ("StartLimitBurst=0",), (0,) * 20, "y" * 20),
]


@pytest.mark.parametrize(("sentence", "settings", "times", "allowed"), LIMITS, ids=[row[0] for row in LIMITS])
def test_start_limit(sentence: str, settings: Sequence[str], times: Sequence[float], allowed: str) -> None:
    spec, run, seen = spec_of(*settings), Run(), ""
    for at in times:
        counted = count_start(spec, run, 1000.0 + at)
        run = counted or run
        seen += "y" if counted else "n"
    assert seen == allowed, sentence


def test_a_unit_that_dies_too_often_fails_for_good() -> None:
    life = Life(spec_of("Restart=always", "RestartSec=0", "StartLimitBurst=3"))
    life.follow("start, " + "main 1, empty, empty, start, " * 3)
    assert (life.run.sub, life.run.result, life.run.restarts) == (Sub.FAILED, "start-limit-hit", 3)
    assert life.did.count("start 0") == 3


JUDGED: Sequence[tuple[str, Sequence[str], Exit, str]] = [
    ("zero is success", (), Exit("exited", 0), "success"),
    ("anything else is not", (), Exit("exited", 5), "exit-code"),
    ("... unless the unit says so", ("SuccessExitStatus=5 SIGKILL",), Exit("exited", 5), "success"),
    ("... of signals too", ("SuccessExitStatus=5 SIGKILL",), Exit("killed", 9), "success"),
    ("HUP is a clean end", (), Exit("killed", 1), "success"),
    ("INT is", (), Exit("killed", 2), "success"),
    ("PIPE is", (), Exit("killed", 13), "success"),
    ("SEGV is not", (), Exit("killed", 11), "signal"),
    ("nor is a core dump, whatever the signal", (), Exit("dumped", 15), "core-dump"),
]


@pytest.mark.parametrize(("sentence", "settings", "ended", "result"), JUDGED, ids=[row[0] for row in JUDGED])
def test_ends_of_main_processes_are_judged(sentence: str, settings: Sequence[str], ended: Exit, result: str) -> None:
    assert judge(spec_of(*settings), "main", ended, stopping=False) == result, sentence


def test_a_control_process_may_not_die_of_a_signal() -> None:
    assert judge(spec_of(), "control", Exit("killed", 15, "TERM"), stopping=False) == "signal"


def test_the_first_thing_that_goes_wrong_is_the_result() -> None:
    life = Life(spec_of("ExecStopPost=/bin/p")).follow("start, main KILL, empty, control 1, empty")
    assert (life.run.sub, life.run.result) == (Sub.FAILED, "signal")


def test_states_are_dated() -> None:
    life = Life(spec_of())
    life.follow("start")
    began = life.run.since
    life.now += 50
    life.follow("stop, main TERM, empty")
    assert (life.run.started, life.run.since) == (began, began + 50)


@given(
    st.sampled_from(
        [(), ("Restart=always",), ("KillMode=mixed",), ("KillMode=process",), ("ExecStop=/s", "ExecStopPost=/p", "ExecStartPre=/q"),
         ("Type=oneshot", "ExecStart=/a", "ExecStart=/b"), ("Type=notify", "ExecReload=/r", "Restart=on-failure")]
    ),
    st.lists(st.sampled_from(sorted(EVENTS)), max_size=30),
)  # fmt: skip
def test_whatever_happens_a_stop_ends_in_rest_with_nothing_left(settings: Sequence[str], words: Sequence[str]) -> None:
    life = Life(spec_of(*settings))
    for word in words:
        event = EVENTS[word]
        process = life.run.main if "main" in word else life.run.control
        if isinstance(event, Exited) and process is None:
            continue  # who does not run cannot end
        life.follow(word)
        assert life.run.sub not in AT_REST or (life.run.main is None and life.run.control is None)
        assert active(life.run.sub) in ("inactive", "activating", "active", "reloading", "deactivating", "failed")
    life.take(Stop())
    for _ in range(20):
        if life.run.sub in AT_REST:
            break
        if life.run.main is not None:
            life.follow("main TERM")
        elif life.run.control is not None:
            life.follow("control 0")
        else:
            life.follow("empty")
    assert life.run.sub in AT_REST
    assert life.run.deadline == 0
