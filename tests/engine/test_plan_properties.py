"""What holds for every cluster and every history, as hypothesis tries to refute it."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from argosy.engine.plan import plan, plan_round
from argosy.engine.world import World
from argosy.model import Order, Target
from tests.engine.cluster_model import MACHINES, TEXTS, UNITS, ClusterModel

machines = st.sampled_from(MACHINES)
units = st.sampled_from(UNITS)
kinds = st.sampled_from(sorted(TEXTS))
targets = st.sampled_from([Target.LAUNCHED, Target.LAUNCHED, Target.LAUNCHED, Target.LOADED, Target.INACTIVE])
metadata = st.sampled_from([{}, {"role": "web"}, {"role": "db"}])
orders = st.sampled_from(
    [None, Order(cordoned=True), Order(draining=True), Order(metadata={"role": "web"}), Order(metadata={"role": None})]
)
outcomes = st.sampled_from(["active", "failed", "done", "activating"])


class AnyHistory(RuleBasedStateMachine):
    """Random things happen; after each the engine plans what has become doubtful, and no more."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = ClusterModel()
        for machine in MACHINES[:2]:
            self.cluster.up(machine, {"role": "web"})
        self.violations: list[str] = []

    @rule(name=units, kind=kinds, wish=targets)
    def submit(self, name: str, kind: str, wish: Target) -> None:
        self.cluster.submit(name, kind, wish)

    @rule(name=units)
    def destroy(self, name: str) -> None:
        self.cluster.destroy(name)

    @rule(machine=machines, metadata=metadata)
    def up(self, machine: str, metadata: dict[str, str]) -> None:
        self.cluster.up(machine, metadata)

    @rule(machine=machines)
    def down(self, machine: str) -> None:
        self.cluster.down(machine)

    @rule(unreachable=st.frozensets(machines, max_size=2))
    def reach(self, unreachable: frozenset[str]) -> None:
        self.cluster.reach(unreachable)

    @rule(machine=machines, order=orders)
    def order(self, machine: str, order: Order | None) -> None:
        self.cluster.order(machine, order)

    @rule(machine=machines, outcome=outcomes)
    def report(self, machine: str, outcome: str) -> None:
        self.cluster.report(machine, outcome)

    @invariant()
    def every_action_keeps_the_rules_and_nothing_is_left_to_do(self) -> None:
        self.cluster.now += 1
        for _ in range(50):
            if not self.cluster.world.unsettled():
                break
            self.violations += self.cluster.carry_out(plan_round(self.cluster.world, self.cluster.now))
        else:
            raise AssertionError("the engine does not come to rest")
        assert not self.violations
        assert not self.cluster.standing_faults()
        assert plan(self.cluster.snapshot(), self.cluster.now) == ()

    @invariant()
    def global_units_are_on_every_machine_that_fits(self) -> None:
        for name, unit in self.cluster.units.items():
            if self.cluster.requirements(name).everywhere and unit.target is not Target.INACTIVE:
                without = [machine for machine in self.cluster.alive if (machine, name) not in self.cluster.placements]
                missing = [machine for machine in without if not self.cluster.faults(name, machine)]
                assert not missing, f"{name} is missing on {missing}"

    @invariant()
    def no_unit_waits_while_a_machine_fits(self) -> None:
        for name, unit in self.cluster.units.items():
            placed = any(where == name for _, where in self.cluster.placements)
            wanted = self.cluster.requirements(name)
            if unit.target is Target.INACTIVE or placed or wanted.everywhere or wanted.stop_on_disconnect:
                continue
            fitting = [machine for machine in self.cluster.machines if not self.cluster.faults(name, machine)]
            assert not fitting, f"{name} could be on {fitting}"


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def scenes(draw: st.DrawFn) -> ClusterModel:
    """A cluster in which some things have happened and others wait for the engine."""
    cluster = ClusterModel()
    for machine in MACHINES:
        cluster.up(machine, draw(metadata))
    for name in draw(st.lists(units, unique=True)):
        cluster.submit(name, draw(kinds), draw(targets))
    while cluster.world.unsettled():
        cluster.carry_out(plan_round(cluster.world, 1.0))
    for machine in draw(st.lists(machines, unique=True)):
        cluster.report(machine, draw(outcomes))
        cluster.order(machine, draw(orders))
    for machine in draw(st.lists(machines, unique=True, max_size=2)):
        cluster.down(machine)
    cluster.reach(draw(st.frozensets(machines, max_size=1)))
    for name in draw(st.lists(units, unique=True)):
        cluster.submit(name, draw(kinds), draw(targets))
    return cluster


@settings(max_examples=100, deadline=None)
@given(scenes(), st.randoms(use_true_random=False))
def test_the_plan_does_not_depend_on_the_order_of_events(cluster: ClusterModel, order: random.Random) -> None:
    snapshot = cluster.snapshot()
    expected = plan(snapshot, 2.0)
    world = World()
    events: list[Callable[[], None]] = []
    events += [partial(world.set_workload, name, workload) for name, workload in snapshot.workloads.items()]
    events += [partial(world.set_machine, name, machine) for name, machine in snapshot.machines.items()]
    events += [partial(world.set_order, name, given) for name, given in snapshot.orders.items()]
    events += [partial(world.set_placement, *place, placement) for place, placement in snapshot.placements.items()]
    events += [partial(world.set_state, *place, state) for place, state in snapshot.states.items()]
    events.append(partial(world.set_unreachable, snapshot.unreachable))
    order.shuffle(events)
    for event in events:
        event()
    other = ClusterModel()
    other.placements = dict(snapshot.placements)
    while world.unsettled():
        other.carry_out(plan_round(world, 2.0))
    cluster.placements = dict(snapshot.placements)
    cluster.carry_out(expected)
    note(str(snapshot))
    assert other.placements == cluster.placements


@settings(max_examples=100, deadline=None)
@given(scenes())
def test_while_machines_may_come_back_nothing_that_is_placed_on_them_moves(cluster: ClusterModel) -> None:
    missing = {place for place in cluster.placements if place[0] not in {*cluster.machines, *cluster.unreachable}}
    wanted = {name for name, unit in cluster.units.items() if unit.target is not Target.INACTIVE}
    cluster.carry_out(plan(cluster.snapshot(), 2.0, patient=True))
    assert {place for place in missing if place[1] in wanted} <= set(cluster.placements)
