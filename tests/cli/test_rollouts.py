"""argosy rollouts, argosy rollout, and what is left when somebody does not wait any longer."""

from __future__ import annotations

import asyncio
import json
from typing import Any, TypeVar

import msgspec
import pytest

from argosy.cli.client import Client, Unreachable
from argosy.cli.following import SILENT, Follower
from argosy.errors import StoreUnavailable
from tests.cli.stage import Stage
from tests.cli.test_update import NEW, OLD, QUICK, begin, obedient, text

T = TypeVar("T")


async def test_interrupted_it_goes_on_and_is_looked_at_again(stage: Stage) -> None:
    async with obedient(stage) as started:
        names = await begin(stage, started)
        stage.file("web@.service", NEW)
        process = await stage.start("update", "web@.service", "--steady", "0.5")
        assert process.stdout is not None
        await process.stdout.readline()
        process.send_signal(2)
        _, err = await asyncio.wait_for(process.communicate(), 20)
        assert process.returncode == 130
        assert err.decode().splitlines() == [
            "Not waiting any longer: rollout web-1 goes on. Look again: argosy rollout web-1 --follow",
            "End it: argosy rollout web-1 --abort, or with --rollback to go back",
        ]
        said = await stage.good("rollout", "web-1", "--follow")
        assert said.splitlines()[-1] == "Done: 3 are changed and healthy"
        assert started == names
        assert {await text(stage, name) for name in (*names, "web@.service")} == {NEW}


async def test_one_that_is_not_waited_for_is_paused_resumed_and_listed(stage: Stage) -> None:
    async with obedient(stage) as started:
        await begin(stage, started)
        stage.file("web@.service", NEW)
        said = await stage.good("update", "web@.service", "--no-block", "--steady", "1")
        assert said == "rollout web-1 has begun; argosy rollout web-1 --follow\n"
        said = await stage.good("rollout", "web-1", "--pause")
        assert said == "rollout web-1 begins nothing new; what is on its way is waited for\n"
        rows = (await stage.good("rollouts", "--fields", "rollout,state")).splitlines()
        assert [row.split() for row in rows] == [["ROLLOUT", "STATE"], ["web-1", "paused"]]
        assert await stage.good("rollout", "web-1", "--resume") == "rollout web-1 goes on\n"
        await stage.good("rollout", "web-1", "--follow")
        assert len(started) == 3
        shown = await stage.good("rollout", "web-1")
        assert shown.startswith("web-1: done, asked for ")
        assert "changed and healthy: web@1.service, web@2.service, web@3.service" in shown
        listed = json.loads(await stage.good("rollouts", "--json"))
        assert [(one["name"], one["state"]) for one in listed] == [("web-1", "done")]
        assert json.loads(await stage.good("rollout", "web-1", "--json"))["steps"][0]["text"] == "web@1.service: updating, to begin with"


async def test_ended_with_rollback_it_goes_back(stage: Stage) -> None:
    async with obedient(stage) as started:
        names = await begin(stage, started)
        stage.file("web@.service", NEW)
        await stage.good("update", "web@.service", "--no-block", "--steady", "1")
        said = await stage.run("rollout", "web-1", "--abort", "--rollback", "--follow", "--json")
        shown = json.loads(said.out)
        assert (said.code, shown["reason"]) == (1, "ended by an operator")
        assert {await text(stage, name) for name in names} == {OLD}


async def test_a_unit_of_a_rollout_that_has_not_ended_is_not_taken_into_another(stage: Stage) -> None:
    await stage.house.submit("web@.service", OLD)
    await stage.house.submit("web@1.service", OLD, "launched")
    stage.file("web@.service", NEW)
    await stage.good("update", "web@1", "--no-block")
    said = await stage.run("update", "web@1", *QUICK)
    assert (said.code, "unit web@1.service is part of rollout web-1, which has not ended" in said.err) == (1, True)
    assert "argosy rollout web-1 --abort" in said.err


REFUSED = [
    (("rollout", "none"), 1, "rollout none does not exist"),
    (("rollout", "none", "--pause", "--abort"), 2, "give one of --pause, --resume and --abort"),
    (("rollout", "none", "--rollback"), 2, "--rollback goes with --abort"),
    (("rollouts", "--fields", "x"), 2, "no field 'x'"),
]


@pytest.mark.parametrize(("words", "code", "message"), REFUSED, ids=[" ".join(row[0]) for row in REFUSED])
async def test_what_cannot_be_done_is_refused(stage: Stage, words: tuple[str, ...], code: int, message: str) -> None:
    said = await stage.run(*words)
    assert (said.code, message in said.err) == (code, True), said


class Script(Client):
    """An agent that answers what is in the script; an error is raised."""

    def __init__(self, *answers: Any) -> None:
        super().__init__([])
        self.answers = list(answers)
        self.now = 0.0

    def request(self, kind: type[T], method: str, path: str, body: object = None, timeout: float | None = None) -> T:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return msgspec.convert(answer, kind)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def follower(self, said: list[str]) -> Follower:
        return Follower(self, "r", said.append, monotonic=lambda: self.now, sleep=self.sleep)


def answer(*steps: int, ended: float = 0.0) -> dict[str, Any]:
    shown = [{"number": number, "at": 1.0, "text": f"step {number}"} for number in steps]
    return {"rollout": {"name": "r", "state": "done" if ended else "running", "steps": shown, "ended": ended}, "index": 7}


def test_each_step_is_said_once_and_a_store_that_is_away_is_waited_for() -> None:
    said: list[str] = []
    away = StoreUnavailable("the store is away")
    script = Script(answer(1), away, Unreachable("no agent"), answer(1, 2), answer(5, 6, ended=9.0))
    assert script.follower(said).until_ended().state == "done"
    assert said == ["step 1", "step 2", "... and 2 steps before", "step 5", "step 6"]


def test_an_agent_that_stays_away_is_given_up() -> None:
    script = Script(answer(1), Unreachable("no agent answers"))
    with pytest.raises(Unreachable):
        script.follower([]).until_ended()
    assert SILENT <= script.now < SILENT + 2
