"""Routes in the health of a rollout: asked of the routers beside the term, which goes on whatever they do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from argosy.engine.rollouts.health import Served
from argosy.errors import RuntimeFailed
from argosy.model import RolloutRules, RolloutState, Stage
from tests.conftest import FakeClock
from tests.engine.harness import harness
from tests.engine.rollouts.agents import ask, ended, launch, played, progress, text, until

OLD = text("old /services/web/app/1")
NEW = text("new /services/web/app/1")
RULES = RolloutRules(timeout=20.0, steady=1.0)
ROUTE = ("app", "1")


class Routers:
    """What they serve; `patience`: questions that they answer, `broken`: they cannot be asked."""

    def __init__(self) -> None:
        self.served = frozenset({ROUTE})
        self.patience = 1_000
        self.broken = False
        self.asked: list[frozenset[str]] = []

    async def ask(self, apps: frozenset[str]) -> Sequence[Served]:
        self.asked.append(apps)
        if len(self.asked) > self.patience:
            await asyncio.Event().wait()
        if self.broken:
            raise RuntimeFailed("the routers cannot be asked")
        return [Served("m1", self.served)]


async def test_a_route_is_waited_for_and_only_answers_to_later_questions_count(clock: FakeClock) -> None:
    routers = Routers()
    async with harness(clock, "m1", ask_routers=routers.ask) as cluster, played(cluster):
        await launch(cluster, a=OLD)
        assert routers.asked == [], "nobody is asked while there is no rollout"
        await ask(cluster, RULES, a=NEW)
        await until(cluster, lambda found: any(group.touched for group in found.groups))
        routers.served = frozenset()
        found = await until(cluster, lambda found: "app/1 is not served yet" in found.reason)
        assert found.groups[0].stage is Stage.CHANGING
        await cluster.pass_time(5.0)
        assert (await progress(cluster)).groups[0].stage is Stage.CHANGING
        routers.served = frozenset({ROUTE})
        assert (await ended(cluster)).state is RolloutState.DONE
        assert set(routers.asked) == {frozenset({"app"})}


async def test_routers_that_do_not_answer_hold_up_their_group_and_nothing_else(clock: FakeClock) -> None:
    routers = Routers()
    async with harness(clock, "m1", ask_routers=routers.ask) as cluster, played(cluster):
        routers.patience = 1
        await launch(cluster, a=OLD, b=text("old"))
        await ask(cluster, RULES, a=NEW)
        await ask(cluster, RULES, name="s", b=text("new"))
        assert (await ended(cluster, "s")).state is RolloutState.DONE
        await cluster.submit("c.service")
        await cluster.until_on("c.service", "m1")
        found = await ended(cluster)
        assert (found.state, found.reason) == (
            RolloutState.FAILED,
            "a.service: not healthy after 20 s: the routers have not answered yet",
        )


async def test_nothing_is_touched_before_it_is_known_what_is_served(clock: FakeClock) -> None:
    routers = Routers()
    routers.broken = True
    async with harness(clock, "m1", ask_routers=routers.ask) as cluster, played(cluster) as agents:
        await launch(cluster, a=OLD)
        agents.started.clear()
        await ask(cluster, RULES, a=NEW)
        await cluster.pass_time(30.0)
        assert agents.started == []
        routers.broken = False
        assert (await ended(cluster)).state is RolloutState.DONE
