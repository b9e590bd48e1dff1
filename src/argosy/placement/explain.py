"""`argosy why UNIT`: where a unit is and why there, or what every single machine has against it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from argosy.errors import InvalidUnit, NotFound
from argosy.model import Job, Machine, Order, Placement, Target, UnitState, Workload
from argosy.placement.cluster import SHORT_ID, Cluster
from argosy.placement.jobs import Reading
from argosy.placement.place import Accepted, Refusal
from argosy.placement.place import why as answers
from argosy.placement.spot import traits_of
from argosy.placement.strategies import SPREAD, STRATEGIES
from argosy.placement.workloads import placed_job, read
from argosy.verdict import has_arrived, may_run


class Row(msgspec.Struct, frozen=True):
    """One machine's answer: `ok` if the unit is or could be there; otherwise `filter` refused it, for this `reason`."""

    machine: str
    filter: str
    reason: str
    ok: bool


class Explanation(msgspec.Struct, frozen=True):
    """`placed_on` are machine ids, in order: none, one, or several (a global unit; a unit that is moving away from a draining machine)."""

    unit: str
    placed_on: tuple[str, ...]
    reason: str
    rows: tuple[Row, ...]


def why(
    workloads: Mapping[str, Workload],
    machines: Mapping[str, Machine],
    orders: Mapping[str, Order],
    placements: Mapping[tuple[str, str], Placement],
    states: Mapping[tuple[str, str], UnitState],
    name: str,
    strategy: str = "spread",
) -> Explanation:
    """Explain one workload; placements and states are by (machine, workload), `strategy` is the leader's. Raises NotFound."""
    workload = workloads.get(name)
    if workload is None:
        raise NotFound(f"unit {name} does not exist", remedy="argosy list-unit-files shows those that do")
    reading = read(workload.kind, name, workload.body)
    cluster = _cluster(workloads, machines, orders, placements, strategy)
    placed = cluster.where.get(name, ())
    if reading.error:
        return Explanation(name, placed, f"its text cannot be placed: {reading.error}", ())
    rows = tuple(_row(answer, placements.get((answer.machine, name))) for answer in answers(cluster, reading.job))
    if placed:
        here = [placements[machine, name] for machine in placed]
        reason = "; ".join(_placed(cluster, reading, placement, states, len(here) > 1) for placement in here)
    else:
        reason = _unplaced(cluster, workload, reading, states, rows)
    return Explanation(name, placed, reason, rows)


def _cluster(
    workloads: Mapping[str, Workload],
    machines: Mapping[str, Machine],
    orders: Mapping[str, Order],
    placements: Mapping[tuple[str, str], Placement],
    strategy: str,
) -> Cluster:
    """Units whose text cannot be read stand in nobody's way: they are placed nowhere."""
    cluster = Cluster(STRATEGIES.get(strategy, SPREAD))
    for machine_id, machine in machines.items():
        cluster.set_machine(machine_id, traits_of(machine, orders.get(machine_id)))
    for name, workload in workloads.items():
        if workload.target is not Target.INACTIVE:
            _add(cluster, read(workload.kind, name, workload.body).job)
    for (machine_id, name), placement in placements.items():
        one = workloads.get(name)
        current = one is not None and one.target is not Target.INACTIVE and one.body == placement.text
        cluster.put(name, machine_id, None if current and not placement.finished else placed_job(placement))
    return cluster


def _add(cluster: Cluster, job: Job) -> None:
    try:
        cluster.set_job(job)
    except InvalidUnit:
        return


def _row(answer: Accepted | Refusal, placement: Placement | None) -> Row:
    if isinstance(answer, Refusal):
        return Row(answer.machine, answer.filter, answer.reason, False)
    if placement is not None and placement.reason:
        return Row(answer.machine, "", f"{answer.reason}: {placement.reason}", True)
    return Row(answer.machine, "", answer.reason, True)


def _placed(
    cluster: Cluster,
    reading: Reading,
    placement: Placement,
    states: Mapping[tuple[str, str], UnitState],
    several: bool,
) -> str:
    """One clause on one of the unit's places."""
    short = placement.machine[:SHORT_ID]
    spot = cluster.spots[placement.machine]
    because = f": {placement.reason}" if placement.reason else ""
    if reading.job.requirements.everywhere:
        return f"on {short}{because}"
    if placement.finished:
        return f"it ran on {short} and has finished"
    if not spot.present:
        return f"on {short}, which is lost; it stays recorded there until another machine fits"
    if not spot.draining:
        state = states.get((placement.machine, placement.unit))
        waiting = several and not has_arrived(placement, state)
        return f"on {short}{because}{' (its agent has not reported it active yet)' if waiting else ''}"
    if several:
        return f"leaving {short}, which drains, as soon as the new copy is active"
    if reading.ends and placement.target is Target.LAUNCHED:
        return f"on {short}, which drains: a oneshot is left to end where it is"
    return f"on {short}, which drains: no other machine fits, so it stays"


def _unplaced(
    cluster: Cluster, workload: Workload, reading: Reading, states: Mapping[tuple[str, str], UnitState], rows: tuple[Row, ...]
) -> str:
    if workload.target is Target.INACTIVE:
        return "nobody asked for it: its target state is inactive (argosy start places it)"
    if not rows:
        return "there is no machine"
    if reading.job.requirements.stop_on_disconnect:
        stopping = sorted(machine for (machine, name), state in states.items() if name == workload.name and may_run(state))
        alive = [machine[:SHORT_ID] for machine in stopping if machine in cluster.spots and cluster.spots[machine].present]
        if alive:
            return f"it waits until its old copy on {', '.join(alive)} has stopped, because two must never run (OnDisconnect=stop)"
    if any(row.ok for row in rows):
        return "it fits and is about to be placed by the engine"
    return f"no machine fits: all {len(rows)} refuse it" if len(rows) > 1 else "no machine fits: the only one refuses it"
