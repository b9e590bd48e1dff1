"""Waiting, with a cluster that answers by a script and a clock that passes while it does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import pytest

from argosy.cli.client import Client
from argosy.cli.outcome import Outcome, started
from argosy.cli.progress import Progress
from argosy.cli.waiting import Waiter

T = TypeVar("T")

MACHINE = {"id": "1" * 32, "name": "m1", "address": "10.0.0.1"}
WHY = {
    "unit": "a.service",
    "reason": "no machine fits",
    "machines": [{"machine": MACHINE["id"], "name": "m1", "filter": "MachineID", "reason": "not this one"}],
}


class Cluster(Client):
    """Answers questions for units from a script, the last answer again and again; each takes as long as it was asked to wait, at most
    `pace` seconds."""

    def __init__(self, *answers: list[dict[str, Any]], pace: float = 100.0) -> None:
        super().__init__([])
        self.answers = list(answers)
        self.pace = pace
        self.now = 50.0
        self.waits: list[float] = []
        self.asked: list[str] = []

    def request(self, kind: type[T], method: str, path: str, body: object = None, timeout: float | None = None) -> T:
        return msgspec.convert(self._answer(path, timeout), kind)

    def _answer(self, path: str, timeout: float | None) -> dict[str, Any]:
        self.asked.append(path)
        if path == "/machines":
            return {"machines": [MACHINE], "index": 7}
        if path.endswith("/why"):
            return WHY
        wait = (timeout or 0.0) - self.timeout
        self.waits.append(wait)
        self.now += min(wait, self.pace)
        units = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return {"units": units, "index": 7}

    def waiter(self, attempts: int = 0) -> Waiter:
        return Waiter(self, attempts, Progress(lambda: self.now))


def unit(active: str = "", *, name: str = "a.service", everywhere: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "target": "launched", "launch": 1, "everywhere": everywhere}
    if active:
        found["places"] = [{"machine": MACHINE["id"], "target": "launched", "launch": 1}]
        found["states"] = [{"unit": name, "machine": MACHINE["id"], "active": active, "launch": 1}]
    return found


def judge(waiter: Waiter) -> Callable[[Any], Outcome]:
    return lambda found: started(found, 1, waiter.machines)


def test_it_waits_for_news_and_tells_each_outcome_as_it_comes(capsys: pytest.CaptureFixture[str]) -> None:
    both = [unit("activating"), unit("activating", name="b.service")]
    cluster = Cluster(both, [unit("active"), both[1]], [unit("active", name="b.service")], pace=0.1)
    waiter = cluster.waiter()
    assert waiter.until(["a.service", "b.service"], judge(waiter))
    said = capsys.readouterr()
    assert said.out.splitlines() == [f"Unit {name}.service launched on 11111111.../10.0.0.1" for name in "ab"]
    assert said.err == ""
    assert cluster.asked[1:] == [
        "/units?name=a.service&name=b.service",
        "/units?name=a.service&name=b.service&index=7&wait=1.050",
        "/units?name=b.service&index=7&wait=0.950",
    ]


def test_why_a_unit_is_nowhere_is_told_once_after_a_while(capsys: pytest.CaptureFixture[str]) -> None:
    cluster = Cluster([unit()], [unit()], [unit()], [unit()], [unit("active")])
    waiter = cluster.waiter()
    assert waiter.until(["a.service"], judge(waiter))
    assert capsys.readouterr().err == "Unit a.service is waiting: no machine fits\n  m1: not this one\n"
    assert cluster.waits == pytest.approx([0.0, 1.05, 10.0, 10.0, 10.0])


def test_a_global_unit_that_no_machine_takes_is_not_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    cluster = Cluster([unit(everywhere=True)])
    waiter = cluster.waiter()
    assert waiter.until(["a.service"], judge(waiter))
    assert capsys.readouterr().out == "Unit a.service is waiting: no machine fits\n  m1: not this one\n"


def test_a_unit_that_vanishes_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    cluster = Cluster([])
    waiter = cluster.waiter()
    assert not waiter.until(["a.service"], judge(waiter))
    assert capsys.readouterr().err == "Unit a.service was destroyed meanwhile\n"


def test_it_gives_up_when_it_is_told_to(capsys: pytest.CaptureFixture[str]) -> None:
    cluster = Cluster([unit("activating")])
    waiter = cluster.waiter(15)
    assert not waiter.until(["a.service"], judge(waiter))
    assert capsys.readouterr().err == "Error: gave up waiting for a.service: activating (dead) on 11111111.../10.0.0.1\n"
    assert sum(cluster.waits) == pytest.approx(15, abs=0.2)


def test_one_failure_among_many_does_not_end_the_waiting_for_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    cluster = Cluster([unit("failed"), unit("activating", name="b.service")], [unit("active", name="b.service")])
    waiter = cluster.waiter()
    assert not waiter.until(["a.service", "b.service"], judge(waiter))
    said = capsys.readouterr()
    assert said.out == "Unit b.service launched on 11111111.../10.0.0.1\n"
    assert said.err.startswith("Unit a.service failed on 11111111.../10.0.0.1")


def test_a_machine_that_joins_meanwhile_is_named() -> None:
    cluster = Cluster([unit("active")])
    waiter = cluster.waiter()
    waiter.machines.clear()
    assert waiter.until(["a.service"], judge(waiter))
    assert cluster.asked.count("/machines") == 2


def test_more_units_than_a_question_can_name_are_asked_for_all_together() -> None:
    names = [f"a@{number}.service" for number in range(300)]
    cluster = Cluster([unit("active", name=name) for name in [*names, "other.service"]])
    waiter = cluster.waiter()
    assert waiter.until(names, judge(waiter))
    assert cluster.asked[1:] == ["/units"]
