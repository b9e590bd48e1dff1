"""The part of the Runtime contract about launches: what a start and a stop mean, what the engine starts by itself, and which run a result
belongs to. Part of `RuntimeContract`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from argosy.model import Observed
from tests.contracts.runtime_ground import DEADLINE, SLEEPER, Ground, alive, eventually, is_running, shell

REQUIRED: Sequence[tuple[str, tuple[str, ...]]] = [
    ("Requires=", ("Requires=@app@",)),
    ("Requires= and After=", ("Requires=@app@", "After=@app@")),
    ("BindsTo=", ("BindsTo=@app@", "After=@app@")),
]


class LaunchContract:
    """Needs the fixture `ground`, as RuntimeContract."""

    @pytest.mark.parametrize(("sentence", "links"), REQUIRED, ids=[row[0] for row in REQUIRED])
    async def test_what_another_unit_needs_runs_without_a_launch_and_a_start_takes_it_over(
        self, ground: Ground, sentence: str, links: tuple[str, ...]
    ) -> None:
        app, needy = await ground.load(app=SLEEPER, first=shell("exec sleep 1000", *links))
        await ground.runtime.start([(needy, 1)])
        own, other = await ground.running(needy), await ground.running(app)
        assert (own.launch, other.launch) == (1, 0), sentence
        await ground.runtime.start([(app, 7)])
        taken = await ground.until(app, lambda seen: is_running(seen) and seen.launch == 7, "taken over")
        assert (taken.pid, taken.invocation) == (other.pid, other.invocation)
        assert (await ground.running(needy)).pid == own.pid

    async def test_a_job_that_another_unit_needs_is_taken_over_while_it_begins(self, ground: Ground) -> None:
        job = shell("echo run >> @dir@/runs; until test -e @dir@/go; do sleep 0.02; done", "Type=oneshot")
        app, needy = await ground.load(app=job, first=shell("exec sleep 1000", "Requires=@app@", "After=@app@"))
        await ground.runtime.start([(needy, 1)])
        await ground.text("runs")
        await ground.runtime.start([(app, 2)])
        (ground.scratch / "go").touch()
        ended = await ground.ended(app)
        assert (ended.launch, ended.code, ended.result) == (2, 0, "success")
        await ground.running(needy)
        assert await ground.text("runs") == "run\n"

    async def test_the_same_launch_again_leaves_what_runs(self, ground: Ground) -> None:
        name = await ground.run(SLEEPER, launch=4)
        before = await ground.running(name)
        await ground.runtime.start([(name, 4)])
        after = await ground.running(name)
        assert (after.pid, after.invocation, after.launch) == (before.pid, before.invocation, 4)

    async def test_what_runs_by_an_older_text_is_restarted_by_a_start(self, ground: Ground) -> None:
        app, needy = await ground.load(app=SLEEPER, first=shell("exec sleep 1000", "Requires=@app@"))
        await ground.runtime.start([(needy, 1)])
        before = await ground.running(app)
        await ground.load(app=SLEEPER + "Environment=NEW=1\n")
        await ground.runtime.start([(app, 1)])
        await ground.until(app, lambda seen: is_running(seen) and seen.pid != before.pid, "running anew")
        assert not alive(before.pid)

    @pytest.mark.parametrize("how", ["stop", "kill"])
    async def test_a_stop_ends_the_launch_and_a_start_right_after_it_runs_anew(self, ground: Ground, how: str) -> None:
        name = await ground.run(SLEEPER, launch=1)
        before = await ground.running(name)
        await (ground.runtime.stop([name]) if how == "stop" else ground.runtime.kill([name]))
        assert (await ground.see(name)).launch == 0
        await ground.runtime.start([(name, 2)])
        after = await ground.until(name, lambda seen: is_running(seen) and seen.launch == 2, "running in its second launch")
        assert after.pid != before.pid
        assert after.invocation != before.invocation
        await eventually(lambda: not alive(before.pid), "end of the first process")

    @pytest.mark.parametrize(
        ("sentence", "text"), [("runs", SLEEPER), ("ended well", shell("exit 0", "Type=oneshot")), ("failed", shell("exit 3"))]
    )
    async def test_the_end_of_a_launch_is_remembered(self, ground: Ground, sentence: str, text: str) -> None:
        name = await ground.run(text, launch=3)
        if sentence == "runs":
            await ground.running(name)
        else:
            await ground.ended(name)
        await ground.runtime.stop([name])
        await ground.ended(name)
        await ground.runtime.close()
        ground.runtime = await ground.connect()
        assert (await ground.see(name)).launch == 0, sentence

    async def test_a_stop_of_a_unit_that_does_not_run_ends_its_launch_and_not_that_of_others(self, ground: Ground) -> None:
        first, second = await ground.load(first=shell("exit 0"), second=SLEEPER)
        await ground.runtime.start([(first, 1), (second, 1)])
        await ground.ended(first)
        await ground.runtime.stop([first])
        assert (await ground.see(first)).launch == 0
        assert (await ground.running(second)).launch == 1

    async def test_a_unit_that_goes_down_with_another_keeps_its_launch(self, ground: Ground) -> None:
        app, sidekick = await ground.load(app=SLEEPER, first=shell("exec sleep 1000", "BindsTo=@app@", "After=@app@"))
        await ground.runtime.start([(app, 1), (sidekick, 1)])
        await ground.running(sidekick)
        await ground.runtime.stop([app])
        assert (await ground.ended(sidekick)).launch == 1
        assert (await ground.see(app)).launch == 0

    async def test_a_sidekick_and_its_app_stopped_and_started_run_once_each(self, ground: Ground) -> None:
        count = 'ExecStartPre=/bin/sh -c "echo up >> @dir@/%s"'
        app, sidekick = await ground.load(
            app=shell("exec sleep 1000", count % "app"),
            first=shell("exec sleep 1000", "BindsTo=@app@", "After=@app@", count % "kick"),
        )
        await ground.runtime.start([(sidekick, 1), (app, 1)])
        await ground.running(sidekick)
        await ground.runtime.stop([sidekick, app])
        for name in (app, sidekick):
            await ground.ended(name)
        await ground.runtime.start([(sidekick, 2)])  # which pulls its app in
        await ground.runtime.start([(app, 2)])
        for name in (app, sidekick):
            await ground.until(name, lambda seen: is_running(seen) and seen.launch == 2, "running in its second launch")
        assert [await ground.text(file) for file in ("app", "kick")] == ["up\nup\n"] * 2

    # ------------------------------------------------------------------ which run a result belongs to

    async def test_every_run_has_an_invocation_of_its_own_and_keeps_it_when_it_has_ended(self, ground: Ground) -> None:
        name = await ground.run(shell("echo run >> @dir@/runs; test $(wc -l < @dir@/runs) -ge 3", "Restart=on-failure", "RestartSec=0"))
        seen: dict[str, None] = {}
        end = time.monotonic() + DEADLINE
        while (ended := await ground.see(name)).active != "inactive":
            assert time.monotonic() < end
            seen[ended.invocation] = None
            await asyncio.sleep(0)
        assert len(ended.invocation) == 32
        assert set(ended.invocation) <= set("0123456789abcdef")
        seen.pop("", None)
        seen[ended.invocation] = None
        assert 1 <= len(seen) <= 3
        (ground.scratch / "runs").unlink()
        await ground.runtime.start([(name, 2)])
        again = await ground.until(name, lambda state: state.active == "inactive", "ended again")
        assert again.invocation not in seen

    async def test_a_unit_that_was_never_started_has_no_invocation(self, ground: Ground) -> None:
        (name,) = await ground.load(app=SLEEPER)
        assert (await ground.see(name)).invocation == ""

    @pytest.mark.parametrize(
        ("sentence", "settings"),
        [
            ("has failed", ()),
            ("waits for its own restart", ("Restart=always", "RestartSec=1h")),
            ("is restarted all the time", ("Restart=always", "RestartSec=0", "StartLimitIntervalSec=0")),
        ],
    )
    async def test_nothing_of_the_launch_before_is_shown_as_the_next_ones(
        self, ground: Ground, sentence: str, settings: tuple[str, ...]
    ) -> None:
        name = await ground.run(shell("exit 5", *settings))
        before = await ground.until(name, lambda seen: seen.result == "exit-code" and seen.code == 5, "failing")
        await ground.load(app=SLEEPER)
        await ground.runtime.start([(name, 2)])
        shown: list[Observed] = []
        end = time.monotonic() + DEADLINE
        while not shown or not is_running(shown[-1]):
            assert time.monotonic() < end, shown[-1:]
            shown.append(await ground.see(name))
            await asyncio.sleep(0)
        wrong = [seen for seen in shown if seen.launch == 2 and (seen.result, seen.code) != ("success", None)]
        assert not wrong, f"a unit that {sentence}: {wrong[0]}"
        assert {seen.active for seen in shown if seen.launch == 2} <= {"activating", "deactivating", "active"}
        assert shown[-1].invocation not in ("", before.invocation)

    async def test_a_unit_that_was_not_run_has_no_invocation(self, ground: Ground) -> None:
        app, needy = await ground.load(app=SLEEPER, first=shell("exec sleep 1000", "Requires=@app@", "After=@app@"))
        await ground.runtime.start([(needy, 1)])
        ran = await ground.running(needy)
        await ground.runtime.stop([needy, app])
        for name in (needy, app):
            await ground.ended(name)
        await ground.load(app=shell("exit 1", "Type=oneshot"))
        await ground.runtime.start([(app, 2), (needy, 2)])
        seen = await ground.until(needy, lambda seen: seen.result == "dependency", "not run for its dependency")
        assert (seen.invocation, seen.code, seen.launch) == ("", None, 2)
        assert ran.invocation
        assert (await ground.ended(app)).invocation
