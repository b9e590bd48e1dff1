"""What a new supervisor finds: units as the last one left them, and their processes still running."""

from __future__ import annotations

import sys

from msgspec.structs import replace

from argosy.agent.supervise.plan import LISTS, STOPPING, telling
from argosy.agent.supervise.saved import Files, Found
from argosy.agent.supervise.states import AT_REST, Job, Pid, Role, Run, Spawn, Spawned, Sub
from argosy.agent.supervise.supervision import Supervision
from argosy.agent.supervise.unit import Unit


def recover(files: Files, supervision: Supervision) -> None:
    """Loads everything that is on disk and goes on with it: processes that live are watched again, those that are gone have ended."""
    found = list(files.units())
    for entry in found:
        supervision.restore(entry.name, entry.unit, entry.run or _lost(supervision, entry))
    for entry in found:
        unit = supervision.units.get(entry.name)
        if unit is not None and unit.run.sub not in AT_REST:
            _resume(supervision, unit)


def _lost(supervision: Supervision, found: Found) -> Run:
    """The run of a unit whose record is of another boot (nothing runs), or unreadable (then its process tells, if it has one)."""
    if not found.broken:
        return Run()
    running = supervision.processes.running(found.name)
    sys.stderr.write(f"{found.name}: the record of its run cannot be read; {'it runs' if running else 'it does not run'}\n")
    if running is None:
        return Run()
    pid, invocation = running
    return Run(sub=Sub.RUNNING, main=pid, mine=(pid,), invocation=invocation)


def _resume(supervision: Supervision, unit: Unit) -> None:
    run = unit.run
    processes = supervision.processes
    if run.job is Job.STOPPING and run.sub not in STOPPING:
        unit.run = run = replace(run, job=Job.STOP)
    elif run.job is Job.RESTOPPING and run.sub not in STOPPING:
        unit.run = run = replace(run, job=Job.RESTART)
    for role, pid in _known(run):
        processes.adopt(unit, role, pid)
    expected = _expected(run)
    if expected is not None:
        begun = processes.begun(unit, run)
        if begun is not None:
            supervision.tell(unit, Spawned(expected, begun))
            processes.adopt(unit, expected, begun)
        else:
            supervision.tell(unit, processes.spawn(unit, unit.bare_spec, Spawn(expected, LISTS[run.sub], run.index)))
    elif run.sub in (Sub.STOP_SIGTERM, Sub.STOP_SIGKILL, Sub.FINAL_SIGTERM, Sub.FINAL_SIGKILL):
        processes.signal(unit, telling(unit.bare_spec, run.sub, run.result))


def _known(run: Run) -> list[tuple[Role, Pid]]:
    known: list[tuple[Role, Pid]] = []
    if run.main is not None:
        known.append(("main", run.main))
    if run.control is not None:
        known.append(("control", run.control))
    return known


def _expected(run: Run) -> Role | None:
    """Who should be there and is not known: the supervisor was killed between writing that it would start a command and doing it."""
    if run.sub is Sub.START and run.main is None:
        return "main"
    if run.sub in (Sub.START_PRE, Sub.START_POST, Sub.STOP, Sub.STOP_POST) and run.control is None:
        return "control"
    return None
