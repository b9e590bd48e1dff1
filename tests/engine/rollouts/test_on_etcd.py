"""A rollout on a real etcd of three members, whose leader ends in the middle without a word."""

from __future__ import annotations

from argosy.model import RolloutRules, RolloutState
from tests.engine.rollouts.agents import ask, played, progress, text, unit
from tests.engine.test_on_etcd import running, submit, until

RULES = RolloutRules(timeout=30.0, steady=0.2)


async def test_the_next_leader_finishes_what_the_first_has_begun_and_changes_nothing_twice() -> None:
    async with running() as (_, lab), played(lab) as agents:
        names = [f"{stem}.service" for stem in "abcd"]
        await submit(lab.store, names)

        async def all_run() -> bool:
            return all(agents.active.get(name) for name in names)

        async def begun() -> bool:
            return sum(group.touched for group in (await progress(lab)).groups) >= 2

        async def over() -> bool:
            return (await progress(lab)).ended > 0

        await until(all_run)
        agents.started.clear()
        await ask(lab, RULES, a=text("new"), b=text("new"), c=text("new"), d=text("new"))
        await until(begun)
        (leader,) = [name for name, engine in lab.engines.items() if engine.leading]
        await lab.stores[1 + int(leader[1:])].close()
        await until(over)
        found = await progress(lab)
        assert (found.state, found.reason) == (RolloutState.DONE, "all are as wished and healthy")
        assert sorted(agents.starts()) == names
        assert [(await unit(lab, stem)).launch for stem in "abcd"] == [2] * 4
