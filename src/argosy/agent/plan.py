"""What an agent does next: pure functions of what is placed here, what is seen and what time it is.

`report` turns what is seen into unit states, counting failures; `plan` compares these with the placements; `fence` is for the time when the
store is out of reach. The only memory is the states themselves, so a new agent that reads them back goes on where the old one stopped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set

import msgspec

from argosy.agent.bodies import Body, body
from argosy.launches import NONE, is_due, is_over, wanted_launch
from argosy.model import UNIT, Observed, Placement, Target, UnitState
from argosy.verdict import REFUSED, at_rest, has_failed, is_active, is_stopping

RETRY_LEAST = 1.0
"""Seconds from a first failure to the next attempt; doubled for each further one up to RETRY_MOST."""
RETRY_MOST = 60.0
STEADY = 60.0
"""A unit that has been active for so many seconds no longer counts as failing."""
STOP_AT = 0.5
"""Part of the lease's time without a keep-alive after which units that must not outlive the lease are stopped ..."""
KILL_AT = 0.8
"""... and after which they are killed."""
LONGEST_NOTE = 500


class Load(msgspec.Struct, frozen=True):
    unit: str
    text: str
    reason: str
    kind: str = UNIT


class Start(msgspec.Struct, frozen=True):
    """Start, or restart if it runs."""

    unit: str
    launch: int
    reason: str
    kind: str = UNIT


class Stop(msgspec.Struct, frozen=True):
    unit: str
    reason: str
    kind: str = UNIT


class Kill(msgspec.Struct, frozen=True):
    unit: str
    reason: str
    kind: str = UNIT


class Unload(msgspec.Struct, frozen=True):
    unit: str
    reason: str
    kind: str = UNIT


class Wait(msgspec.Struct, frozen=True):
    """Nothing now; look again at `until` (Unix time)."""

    unit: str
    until: float
    reason: str


Command = Kill | Stop | Unload | Load | Start
"""What a runtime is asked."""
Action = Command | Wait
ORDER = (Kill, Stop, Unload, Load, Start, Wait)
"""What is stopped makes room before anything is started; each kind is applied in one call."""


def plan(
    placements: Mapping[str, Placement],
    observed: Mapping[str, Observed],
    states: Mapping[str, UnitState],
    now: float,
    *,
    fenced: bool = False,
    unreadable: Set[str] = frozenset(),
    names: Iterable[str] | None = None,
) -> tuple[Action, ...]:
    """What brings this machine to its placements. `states` are those of `report` for the same observation. `fenced`: the store has been
    silent for so long that units which must not outlive the lease are left to `fence`. `unreadable`: units that are placed here by a record
    that says nothing; they are left as they are. `names`: the units to decide about (None: all)."""
    actions: list[Action] = []
    for name in placements.keys() | observed.keys() if names is None else names:
        placement, seen = placements.get(name), observed.get(name)
        if seen is not None and (placement is None or placement.kind != seen.kind):
            if name not in unreadable:
                actions += _leave(
                    seen, states.get(name), now, "not placed here" if placement is None else f"placed here as {placement.kind}"
                )
        elif placement is not None:
            text = body(placement)
            if not (fenced and text.requirements(name).stop_on_disconnect):
                actions += _placed(placement, text, observed, states.get(name), now)
    rank = _ranks(placements, [action.unit for action in actions if isinstance(action, Start)])
    actions.sort(key=lambda action: (ORDER.index(type(action)), rank.get(action.unit, 0), action.unit))
    return tuple(actions)


def _placed(placement: Placement, text: Body, observed: Mapping[str, Observed], state: UnitState | None, now: float) -> Iterator[Action]:
    """A stop is an event: it ends the launch, and what the engine starts after that (launch 0) is the engine's own affair."""
    name = placement.unit
    seen = observed.get(name)
    changed = seen is None or seen.hash != text.hash
    if seen is not None and is_over(placement, seen.launch) and not (changed and at_rest(seen)):
        yield from _stop(seen, f"its target is {placement.target}", state, now)
    elif seen is None or changed:
        why = f"placed here: {placement.reason}" if seen is None else "its text has changed"
        if seen is not None and not at_rest(seen) and (placement.target is Target.LAUNCHED or is_stopping(seen)):
            if not is_stopping(seen):
                yield from _stop(seen, why, state, now)
        elif state is not None and _waits(state, now):
            yield Wait(name, state.retry_at, state.note)
        else:
            yield Load(name, placement.text, why, placement.kind)
            if wanted_launch(placement):
                yield Start(name, placement.launch, why, placement.kind)
    elif is_due(placement, seen.launch):
        if state is not None and _waits(state, now):
            yield Wait(name, state.retry_at, state.note)
        else:
            yield Start(name, placement.launch, f"launch {placement.launch} is asked for", placement.kind)
    elif wanted_launch(placement) and at_rest(seen):
        yield from _ended(placement, text, seen, observed, state, now)


def _ended(
    placement: Placement, text: Body, seen: Observed, observed: Mapping[str, Observed], state: UnitState | None, now: float
) -> Iterator[Action]:
    """A unit that was started in this launch and does not run any more."""
    bound = [observed[name] for name in text.requirements(seen.name).binds_to if name in observed]
    if not all(map(is_active, bound)):
        return  # it is started once they are active
    if has_failed(seen):
        if not text.retries or state is None or state.retry_at == 0:
            return
        times = f"failed {state.failures} times in a row" if state.failures > 1 else f"failed ({seen.result})"
        if _waits(state, now):
            yield Wait(seen.name, state.retry_at, times)
        else:
            yield Start(seen.name, placement.launch, times, placement.kind)
    elif not text.oneshot:
        leaders = [other.name for other in bound if other.started > seen.started]
        if leaders and state is not None and _waits(state, now):
            yield Wait(seen.name, state.retry_at, state.note)
        elif leaders:
            yield Start(seen.name, placement.launch, f"{', '.join(leaders)} was started anew", placement.kind)


def _leave(seen: Observed, state: UnitState | None, now: float, reason: str) -> Iterator[Action]:
    if at_rest(seen):
        yield Unload(seen.name, reason, seen.kind)
    elif not is_stopping(seen):
        yield from _stop(seen, reason, state, now)


def _stop(seen: Observed, reason: str, state: UnitState | None, now: float) -> Iterator[Action]:
    """A stop, unless one that was refused is not due again."""
    if state is not None and state.result == REFUSED and _waits(state, now):
        yield Wait(seen.name, state.retry_at, state.note)
    else:
        yield Stop(seen.name, reason, seen.kind)


def _ranks(placements: Mapping[str, Placement], starting: list[str]) -> dict[str, int]:
    """How late each unit is started: after those that it binds to, or wants to be after. Circles are cut where they are met."""
    chosen = set(starting)
    earlier: dict[str, set[str]] = {name: set() for name in chosen}
    for name in chosen:
        text = body(placements[name])
        earlier[name] |= chosen & {*text.requirements(name).binds_to, *text.dependencies(name, "After")}
        for other in chosen & set(text.dependencies(name, "Before")):
            earlier[other].add(name)
    ranks: dict[str, int] = {}
    while len(ranks) < len(chosen):
        ready = [name for name in chosen if name not in ranks and earlier[name] <= ranks.keys()]
        rank = max(ranks.values(), default=-1) + 1
        ranks.update(dict.fromkeys(ready or [min(chosen - ranks.keys())], rank))
    return ranks


def fence(observed: Mapping[str, Observed], exclusive: Set[str], silent: float, ttl: float) -> tuple[Command, ...]:
    """What must happen to units that may not outlive the lease, `silent` seconds after the last good keep-alive was sent.

    They are stopped, then killed, so that they are dead before another machine may be given them. That ends their launch, so that they are
    started again when the store is back and they are still placed here.
    """
    actions: list[Command] = []
    if silent < ttl * STOP_AT:
        return ()
    reason = "the store is out of reach and OnDisconnect=stop"
    for name in sorted(exclusive & observed.keys()):
        seen = observed[name]
        if at_rest(seen):
            continue
        if silent >= ttl * KILL_AT:
            actions.append(Kill(name, reason, seen.kind))
        elif not is_stopping(seen):
            actions.append(Stop(name, reason, seen.kind))
    return tuple(sorted(actions, key=lambda action: ORDER.index(type(action))))


def report(
    machine: str,
    placements: Mapping[str, Placement],
    observed: Mapping[str, Observed],
    previous: Mapping[str, UnitState],
    now: float,
    names: Iterable[str] | None = None,
) -> dict[str, UnitState]:
    """The states to publish: one for each loaded unit, and for each that could not be loaded. Failures of one launch are counted on from
    `previous`; what was refused stands until it is done, or something else is asked. `names`: the units to report about (None: all); those
    that have no state are left out."""
    states = {}
    for name in observed.keys() | placements.keys() if names is None else names:
        placement, before, seen = placements.get(name), previous.get(name), observed.get(name)
        if seen is None:
            if placement is not None and before is not None and before.failures and before.result == REFUSED:
                states[name] = _not_loaded(machine, before)
            continue
        if placement is not None and placement.kind != seen.kind:
            placement = None  # what is loaded is not what is placed here, and leaves
        told = _report_one(machine, placement, seen, before, now)
        if before is not None and _still_refused(placement, seen, before):
            told = msgspec.structs.replace(
                told, launch=before.launch, result=REFUSED, failures=before.failures, retry_at=before.retry_at, note=before.note
            )
        elif placement is not None and at_rest(seen) and not told.note:
            told = msgspec.structs.replace(told, note=_waits_for(placement, seen, placements, observed, previous))
        states[name] = told
    return states


def _not_loaded(machine: str, known: UnitState) -> UnitState:
    """The state of a unit that is placed here and was refused before it was loaded."""
    return UnitState(
        known.unit,
        machine,
        launch=known.launch,
        load="error",
        result=REFUSED,
        failures=known.failures,
        retry_at=known.retry_at,
        note=known.note,
    )


def _still_refused(placement: Placement | None, seen: Observed, before: UnitState) -> bool:
    """Whether what was refused has neither been done meanwhile nor become another wish."""
    if before.result != REFUSED or before.launch != wanted_launch(placement):
        return False
    return placement is None or seen.launch != before.launch or seen.hash != body(placement).hash


def _waits_for(
    placement: Placement,
    seen: Observed,
    placements: Mapping[str, Placement],
    observed: Mapping[str, Observed],
    previous: Mapping[str, UnitState],
) -> str:
    """What a unit that does not run will be started with; "" if nothing that it is bound to is about to come, so that it has ended."""
    text = body(placement)
    if not wanted_launch(placement) or is_due(placement, seen.launch) or has_failed(seen) or text.oneshot:
        return ""
    bound = [observed[name] for name in text.requirements(placement.unit).binds_to if name in observed]
    leaders = [other.name for other in bound if _comes(other, seen, placements.get(other.name), previous.get(other.name))]
    return f"it is started with {', '.join(leaders)}" if leaders else ""


def _comes(other: Observed, seen: Observed, placement: Placement | None, state: UnitState | None) -> bool:
    """Whether a unit is on its way up, or has come up since `seen` was started."""
    if at_rest(other):
        return (placement is not None and is_due(placement, other.launch)) or (state is not None and state.retry_at > 0)
    return not is_active(other) or other.started > seen.started


def _report_one(machine: str, placement: Placement | None, seen: Observed, before: UnitState | None, now: float) -> UnitState:
    failures, retry_at, note = 0, 0.0, ""
    if before is not None and before.launch == seen.launch:  # failures of another launch are no failures of this one
        failures, retry_at, note = before.failures, before.retry_at, before.note
    if has_failed(seen):
        same = before is not None and has_failed(before) and _run_of(before) == _run_of(seen)
        if not same:
            failures = 1 if before is None or _starts_over(before, seen) else failures + 1
            retry_at = now + delay(failures) if placement is not None and _retries(placement) else 0.0
            note = ""
    elif not at_rest(seen):
        retry_at, note = 0.0, ""
        if is_active(seen) and now - seen.since >= STEADY:
            failures = 0
    elif placement is None or seen.launch == wanted_launch(placement):
        failures, retry_at, note = 0, 0.0, ""
    return UnitState(
        unit=seen.name,
        machine=machine,
        hash=seen.hash,
        launch=seen.launch,
        load=seen.load,
        active=seen.active,
        sub=seen.sub,
        since=seen.since,
        pid=seen.pid,
        code=seen.code,
        result=seen.result,
        failures=failures,
        retry_at=retry_at,
        note=(seen.error or note)[:LONGEST_NOTE],
        invocation=seen.invocation,
    )


def _run_of(seen: Observed | UnitState) -> tuple[int, str, float]:
    return seen.launch, seen.invocation, seen.since


def _starts_over(before: UnitState, seen: Observed) -> bool:
    """Whether this failure is a first one: of another launch, or after the unit had run well for a while."""
    steady = is_active(before) and seen.since - before.since >= STEADY
    return before.launch != seen.launch or steady


def _retries(placement: Placement) -> bool:
    return wanted_launch(placement) != NONE and body(placement).retries


def refused(machine: str, name: str, placement: Placement | None, state: UnitState | None, reason: str, now: float) -> UnitState:
    """The state of a unit that the runtime would not load, start or stop. It carries the launch that was asked; it is counted and tried
    again like a failure."""
    launch = wanted_launch(placement)
    state = state or UnitState(name, machine, load="error")
    failures = state.failures + 1 if state.launch == launch else 1
    note = reason[:LONGEST_NOTE]
    return msgspec.structs.replace(state, launch=launch, result=REFUSED, failures=failures, retry_at=now + delay(failures), note=note)


def attempted(state: UnitState) -> UnitState:
    """The state of a unit whose start was just accepted: whether it failed again is yet to be seen."""
    if state.result == REFUSED:
        return anew(state)
    return msgspec.structs.replace(state, retry_at=0.0, note="")


def anew(state: UnitState) -> UnitState:
    """The state of a unit whose placement has changed: the count starts over."""
    result = "success" if state.result == REFUSED else state.result
    return msgspec.structs.replace(state, failures=0, retry_at=0.0, note="", result=result)


def delay(failures: int) -> float:
    """Seconds to wait after so many failures in a row: 1, 2, 4, ... 60."""
    return min(RETRY_MOST, RETRY_LEAST * 2.0 ** min(failures - 1, 16))


def _waits(state: UnitState, now: float) -> bool:
    """Not yet due. A time further away than any delay comes from a clock that has been set back: it is due."""
    return 0 < state.retry_at - now <= RETRY_MOST


def next_look(actions: tuple[Action, ...], states: Mapping[str, UnitState], now: float) -> float | None:
    """Seconds until time alone may change something; None: never."""
    times = [action.until for action in actions if isinstance(action, Wait)]
    times += [state.since + STEADY for state in states.values() if state.failures and is_active(state)]
    return max(0.05, min(min(times) - now, RETRY_MOST)) if times else None
