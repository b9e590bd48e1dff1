"""The page of `argosy status`: what systemctl shows, from what a unit's machines answered. Decides and touches nothing but colour."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping

from argosy.api.shapes import MachineView, StatusAnswer, StatusOn, UnitView
from argosy.cli.cluster import reported_on
from argosy.cli.outcome import describe_trouble, legend
from argosy.cli.table import coloured, size, span
from argosy.model import Detail, LogLine, Observed, UnitState
from argosy.terminal import Coloured, Line, indented, printable, width_of, without_colours
from argosy.verdict import ENDINGS, active_state, is_active

DOTS = {"active": "●", "reloading": "↻", "failed": "×", "activating": "●", "deactivating": "●"}
MOST_PROCESSES = 20


def running(answer: StatusAnswer) -> bool:
    """Whether the unit runs on every machine where it is, and is somewhere."""
    details = [machine.detail for machine in answer.machines]
    return bool(details) and all(detail is not None and is_active(detail.observed) for detail in details)


def page(answer: StatusAnswer, machines: Mapping[str, MachineView], now: float) -> list[Line]:
    """The lines of one unit's page."""
    unit = answer.unit
    if answer.machines:
        lines: list[Line] = []
        for on in answer.machines:
            lines += [*([""] if lines else []), *_on_machine(unit, on, machines, now)]
        return lines
    what = "waiting for a machine" if unit.target != "inactive" else "not asked for"
    return [
        [*_heading(Coloured("○"), unit.name, unit.description)],
        f"     Loaded: on no machine ({what})",
        f"     Target: {unit.target} (argosy {'why' if unit.target != 'inactive' else 'start'} {unit.name})",
    ]


def _heading(dot: Coloured, name: str, description: str) -> list[str | Coloured]:
    return [dot, f" {name}" + (f" - {description}" if description else "")]


def _on_machine(unit: UnitView, on: StatusOn, machines: Mapping[str, MachineView], now: float) -> Iterator[Line]:
    where = legend(machines.get(on.machine), on.machine) + (f" ({on.name})" if on.name else "")
    detail = on.detail
    if detail is None:
        yield _heading(Coloured("?"), unit.name, unit.description)
        yield f"    Machine: {where}"
        yield f"      Error: {on.error or 'it gave no answer'}"
        return
    seen = detail.observed
    active = seen.active
    yield _heading(coloured(active, DOTS.get(active, "○")), unit.name, detail.description or unit.description)
    yield f"     Loaded: {seen.load}" + (f" ({detail.path})" if detail.path else "")
    yield ["     Active: ", coloured(active, active_state(seen)), _since(seen, now)]
    yield f"    Machine: {where}"
    yield from _trouble(seen, reported_on(unit, on.machine), now)
    yield from _processes(detail, seen)
    if on.lines:
        yield ""
        for line in on.lines:
            yield from log_lines(line, unit.name)


def _since(seen: Observed, now: float) -> str:
    if not seen.since:
        return ""
    stamp = datetime.datetime.fromtimestamp(seen.since).astimezone()
    return f" since {stamp:%a %Y-%m-%d %H:%M:%S %Z}; {span(now - seen.since)} ago"


def _trouble(seen: Observed, state: UnitState | None, now: float) -> Iterator[str]:
    words = describe_trouble(state, now) if state is not None else ""
    if words:
        yield f"    Trouble: {words}"
    if seen.restarts:
        yield f"   Restarts: {seen.restarts}"


def _processes(detail: Detail, seen: Observed) -> Iterator[str]:
    """Main process, memory, time, and the tree of processes."""
    if seen.pid:
        program = detail.main_command.partition(" ")[0].rpartition("/")[2]
        yield f"   Main PID: {seen.pid}" + (f" ({program})" if program else "")
    elif seen.code is not None:
        yield f"    Process: code=exited, status={seen.code}{'/SUCCESS' if seen.code == 0 else ''}"
    elif seen.result in ("signal", "core-dump"):
        yield f"    Process: {ENDINGS[seen.result]}"
    processes = detail.processes
    if processes:
        yield f"      Tasks: {len(processes)}"
    if detail.memory:
        yield f"     Memory: {size(detail.memory)}"
    if detail.cpu:
        yield f"        CPU: {_cpu(detail.cpu)}"
    for number, (pid, command) in enumerate(processes[:MOST_PROCESSES]):
        branch = "└─" if number == len(processes) - 1 else "├─"
        yield f"{'  Processes: ' if number == 0 else ' ' * 13}{branch}{pid} {command}"
    if len(processes) > MOST_PROCESSES:
        yield f"{' ' * 13}└─ and {len(processes) - MOST_PROCESSES} more"


def _cpu(seconds: float) -> str:
    return f"{seconds * 1000:.0f}ms" if seconds < 1 else f"{seconds:.3f}s" if seconds < 60 else span(seconds)


def log_lines(line: LogLine, unit: str) -> list[str]:
    """A record of the log as journalctl's short form shows it: colours left out, further lines indented below the first."""
    if line.error:
        return [f"-- {line.error} --"]
    stamp = datetime.datetime.fromtimestamp(line.time).astimezone()
    source = line.source or unit.rpartition(".")[0]
    pid = f"[{line.pid}]" if line.pid else ""
    head = printable(f"{stamp:%b %d %H:%M:%S} {source}{pid}: ")
    return indented(head + without_colours(line.text), " " * width_of(head))
