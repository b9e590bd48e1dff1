"""The supervisor as its client sees it: every directive that it honours, who belongs to a unit, and what the untrusted side can send."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import signal
import stat
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from argosy.agent.supervise.cut import cut
from argosy.agent.supervise.protocol import SOCKET
from argosy.agent.supervisor import SupervisorRuntime
from argosy.errors import InvalidUnit, NotFound, RuntimeFailed
from argosy.proc import look, processes
from argosy.reconcile import SystemClock
from argosy.unit.parse import LARGEST_FILE
from tests.agent.supervisor_ground import Own
from tests.contracts.runtime_ground import DEADLINE, SLEEPER, alive, is_running, on_ground, said, shell

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may run units as others")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("supervisor")
    yield folder
    cut(folder)


@pytest.fixture
async def own(folder: Path, tmp_path: Path) -> AsyncIterator[Own]:
    async def connect() -> SupervisorRuntime:
        return await SupervisorRuntime.connect(
            folder, SystemClock(), environment={"COREOS_PRIVATE_IPV4": "127.0.1.7"}, machine_id="0123456789abcdef" * 2, host="m7"
        )

    async with on_ground(connect, tmp_path) as ground:
        yield Own(ground.runtime, ground.connect, ground.scratch, ground.prefix)


async def printed(own: Own, command: str, *settings: str) -> str:
    """What a oneshot says on its standard output; it must end well."""
    name = await own.run("\n".join(("[Service]", "Type=oneshot", *settings, f"ExecStart={command}", "")))
    seen = await own.ended(name)
    assert seen.result == "success", seen
    return "\n".join(await said(own, name, 1))


# ---------------------------------------------------------------------- what commands get


async def test_a_command_has_systemds_environment_and_nothing_of_ours(own: Own) -> None:
    lines = (await printed(own, "/usr/bin/env", "Environment=MINE=1")).splitlines()
    variables = dict(line.split("=", 1) for line in lines)
    assert variables.pop("PATH") == "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert len(variables.pop("INVOCATION_ID")) == 32
    assert variables.pop("MINE") == "1"
    assert variables.pop("COREOS_PRIVATE_IPV4") == "127.0.1.7"
    variables.pop("ARGOSY_RUN")
    allowed = {"LANG", "TZ"} if os.geteuid() == 0 else {"LANG", "TZ", "HOME", "USER", "LOGNAME", "SHELL"}
    assert set(variables) <= allowed


async def test_a_unit_may_override_what_the_machine_says(own: Own) -> None:
    assert await printed(own, "/bin/echo ${COREOS_PRIVATE_IPV4}", "Environment=COREOS_PRIVATE_IPV4=10.0.0.1") == "10.0.0.1"


async def test_specifiers_stand_for_the_machine_that_the_agent_named(own: Own) -> None:
    assert await printed(own, "/bin/echo %H %m %l") == "m7 0123456789abcdef0123456789abcdef m7"


async def test_a_command_leads_its_session_with_clean_signals_and_three_files(own: Own) -> None:
    script = own.scratch / "look.py"
    script.write_text(
        "import os\n"
        "status = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
        "print(os.getsid(0) == os.getpid(), sorted(map(int, os.listdir('/proc/self/fd')))[:4], os.getcwd(), oct(int(status['Umask'], 8)))\n"
        "print(status['SigIgn'].strip(), status['SigBlk'].strip(), os.path.realpath('/proc/self/fd/0'))\n"
    )
    lines = (await printed(own, f"{sys.executable} -S {script}")).splitlines()
    home = pwd.getpwuid(os.geteuid()).pw_dir if os.geteuid() != 0 else "/"
    home = home if os.path.isdir(home) else "/"
    assert lines[0] == f"True [0, 1, 2, 3] {home} 0o22", "3 is the listing of the files itself"
    ignored, blocked, source = lines[1].split()
    assert int(blocked, 16) == 0
    kept = (1 << (signal.SIGPIPE - 1)) | (1 << (signal.SIGXFSZ - 1))  # Python itself ignores these two
    ordinary = (1 << 31) - 1  # 32 and 33 are the C library's own and cannot be set
    assert int(ignored, 16) & ordinary & ~kept == 0
    assert source == "/dev/null"


async def test_the_limit_of_open_files_is_the_one_the_supervisor_found(own: Own) -> None:
    assert await printed(own, "/bin/sh -c 'ulimit -Sn'") == str(_soft_limit())


def _soft_limit() -> int:
    line = next(line for line in Path("/proc/self/limits").read_text().splitlines() if line.startswith("Max open files"))
    return int(line.split()[3])


async def test_a_program_without_a_path_is_searched_for(own: Own) -> None:
    assert await printed(own, "echo here") == "here"


@needs_root
async def test_user_and_group_are_taken_on_with_their_variables(own: Own) -> None:
    script = "/bin/sh -c 'id -un; id -gn; echo $HOME $USER $LOGNAME $SHELL; echo x > /dev/stdout'"
    lines = (await printed(own, script, "User=nobody", "Group=daemon")).splitlines()
    assert lines[:2] == ["nobody", "daemon"]
    assert lines[2].split()[1:3] == ["nobody", "nobody"]


@needs_root
async def test_a_plus_keeps_a_command_with_the_supervisors_user(own: Own) -> None:
    lines = await printed(own, "/usr/bin/id -un", "User=daemon", "ExecStartPre=+/usr/bin/id -un")
    assert lines.splitlines() == ["root", "daemon"]


@needs_root
async def test_an_unknown_user_is_code_217(own: Own) -> None:
    name = await own.run(shell("true", "User=nobody-knows-them"))
    seen = await own.ended(name)
    assert (seen.active, seen.code, seen.result) == ("failed", 217, "exit-code")
    await own.logged(name, "User=nobody-knows-them: there is no such user")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may run units as anybody")
async def test_without_root_another_user_is_code_217(own: Own) -> None:
    name = await own.run(shell("true", "User=root"))
    seen = await own.ended(name)
    assert (seen.active, seen.code, seen.result) == ("failed", 217, "exit-code")
    await own.logged(name, "only a supervisor that runs as root")


@pytest.mark.parametrize(
    ("settings", "code", "result", "why"),
    [
        (("WorkingDirectory=/nonexistent",), 200, "exit-code", "WorkingDirectory=/nonexistent"),
        (("EnvironmentFile=/nonexistent/file",), None, "resources", "EnvironmentFile=/nonexistent/file"),
        (("EnvironmentFile=/dev/zero",), None, "resources", "not a regular file"),
        (("Group=nobody-knows-them",), 216, "exit-code", "there is no such group"),
    ],
)
async def test_a_command_that_cannot_be_begun_says_why(
    own: Own, settings: tuple[str, ...], code: int | None, result: str, why: str
) -> None:
    name = await own.run(shell("true", *settings))
    seen = await own.ended(name)
    assert (seen.active, seen.code, seen.result) == ("failed", code, result)
    await own.logged(name, why)


async def test_a_missing_folder_may_be_forgiven(own: Own) -> None:
    assert await printed(own, "/bin/pwd", "WorkingDirectory=-/nonexistent") == "/"


async def test_environment_files_may_be_many_and_the_later_ones_win(own: Own) -> None:
    for number in range(3):
        (own.scratch / f"{number}.env").write_text(f"WHO={number}\nN{number}=yes\n")
    assert await printed(own, "/bin/echo ${WHO} ${N0} ${N2}", f"EnvironmentFile={own.scratch}/*.env") == "2 yes yes"


# ---------------------------------------------------------------------- lists of commands


async def test_all_lists_of_commands_are_run_in_their_order(own: Own) -> None:
    note = "/bin/sh -c 'echo {} $$MAINPID $$SERVICE_RESULT $$EXIT_CODE $$EXIT_STATUS >> @dir@/said'".replace("$$", "$")
    settings = [
        f"{name}={note.format(name + number)}"
        for name in ("ExecStartPre", "ExecStartPost", "ExecReload", "ExecStop", "ExecStopPost")
        for number in "12"
    ]
    name = await own.run(own.fill("\n".join(("[Service]", *settings, "ExecStart=/bin/sleep 1000", ""))))
    pid = (await own.running(name)).pid
    await own.supervisor.reload([name])
    await own.text("said", 10)
    await own.running(name)
    await own.runtime.stop([name])
    await own.ended(name)
    assert (own.scratch / "said").read_text().splitlines() == [
        "ExecStartPre1",
        "ExecStartPre2",
        f"ExecStartPost1 {pid}",
        f"ExecStartPost2 {pid}",
        f"ExecReload1 {pid}",
        f"ExecReload2 {pid}",
        f"ExecStop1 {pid} success",
        f"ExecStop2 {pid} success",
        "ExecStopPost1 success killed TERM",
        "ExecStopPost2 success killed TERM",
    ]


async def test_what_cleans_up_knows_how_it_ended(own: Own) -> None:
    post = "ExecStopPost=/bin/sh -c 'echo $SERVICE_RESULT $EXIT_CODE $EXIT_STATUS > @dir@/said'"
    name = await own.run(shell("exit 5", post))
    await own.ended(name)
    assert await own.text("said") == "exit-code exited 5\n"


async def test_a_oneshot_runs_several_commands(own: Own) -> None:
    lines = (
        await printed(own, "/bin/echo three", "ExecStart=/bin/echo one", "ExecStart=-/bin/false", "ExecStart=/bin/echo two")
    ).splitlines()
    assert lines == ["one", "two", "three"]


async def test_what_has_no_reload_refuses_it(own: Own) -> None:
    name = await own.run(SLEEPER)
    await own.running(name)
    with pytest.raises(RuntimeFailed, match="has no ExecReload="):
        await own.supervisor.reload([name])


# ---------------------------------------------------------------------- who belongs to a unit

ESCAPES = {
    "a child": "sh -c 'echo $$ > @dir@/child; exec sleep 1000' &",
    "a child in a session of its own": "setsid sh -c 'echo $$ > @dir@/child; exec sleep 1000' &",
    "a daemon that lost its parent": "( setsid sh -c 'echo $$ > @dir@/child; exec sleep 1000' & ) ;",
    "one that ignores to be told": "( setsid sh -c 'trap \"\" TERM; echo $$ > @dir@/child; while :; do sleep 0.05; done' & ) ;",
}


@pytest.mark.parametrize("escape", ESCAPES)
@pytest.mark.parametrize("ending", ["stop", "kill", "by itself"])
async def test_no_process_is_left_behind(own: Own, escape: str, ending: str) -> None:
    script = f"{ESCAPES[escape]} until test -e @dir@/go; do sleep 0.02; done"
    name = await own.run(shell(script, "TimeoutStopSec=500ms"))
    child = int(await own.text("child"))
    assert alive(child)
    await own.running(name)
    if ending == "by itself":
        (own.scratch / "go").touch()
    else:
        await (own.runtime.stop if ending == "stop" else own.runtime.kill)([name])
    await own.ended(name)
    assert not alive(child)


async def test_killmode_process_leaves_children_alone(own: Own) -> None:
    name = await own.run(shell("sh -c 'echo $$ > @dir@/child; exec sleep 1000' & exec sleep 1000", "KillMode=process"))
    child = int(await own.text("child"))
    await own.running(name)
    await own.runtime.stop([name])
    assert (await own.ended(name)).active == "inactive"
    assert alive(child)
    os.kill(child, signal.SIGKILL)


async def test_killmode_mixed_asks_the_main_process_and_kills_the_others(own: Own) -> None:
    child = "sh -c 'trap \"echo asked >> @dir@/said\" TERM; echo $$ > @dir@/child; while :; do sleep 0.02; done' &"
    main = "trap 'echo main >> @dir@/said; exit 0' TERM; while :; do sleep 0.02; done"
    name = await own.run(shell(f"{child} {main}", "KillMode=mixed"))
    pid = int(await own.text("child"))
    await own.running(name)
    await own.runtime.stop([name])
    assert (await own.ended(name)).result == "success"
    assert not alive(pid)
    assert (own.scratch / "said").read_text() == "main\n"


async def test_the_unit_names_the_signal_that_ends_it(own: Own) -> None:
    script = "trap 'echo int > @dir@/said; exit 0' INT; trap '' TERM; echo up > @dir@/up; while :; do sleep 0.02; done"
    name = await own.run(shell(script, "KillSignal=SIGINT"))
    await own.text("up")
    await own.runtime.stop([name])
    assert (await own.ended(name)).result == "success"
    assert await own.text("said") == "int\n"


async def test_a_stopped_process_hears_that_it_shall_end(own: Own) -> None:
    name = await own.run(SLEEPER)
    pid = (await own.running(name)).pid
    os.kill(pid, signal.SIGSTOP)
    await own.runtime.stop([name])
    assert (await own.ended(name)).result == "success"


async def test_no_zombie_stays_with_the_supervisor(own: Own) -> None:
    name = await own.run(shell("n=0; while test $n -lt 20; do n=$((n+1)); ( sleep 0.01 & ) ; done; sleep 0.05", "Type=oneshot"))
    await own.ended(name)

    def zombies() -> bool:
        return any(process.parent == own.pid and process.dead for process in processes())

    end = time.monotonic() + DEADLINE
    while await asyncio.to_thread(zombies):
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


# ---------------------------------------------------------------------- what units say

TELLER = """
import os, socket, subprocess, sys, time
def tell(words):
    address = os.environ["NOTIFY_SOCKET"]
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sender.connect("\\0" + address[1:])
    sender.send(words.encode())
if sys.argv[1] == "child":
    if os.fork() == 0:
        tell("READY=1")
elif sys.argv[1] == "main":
    other = os.fork()
    if other:
        tell(f"MAINPID={other}\\nREADY=1")
        os._exit(0)
elif sys.argv[1] == "reload":
    tell("READY=1")
    while not os.path.exists(sys.argv[2]):
        time.sleep(0.01)
    tell("RELOADING=1")
    while os.path.exists(sys.argv[2]):
        time.sleep(0.01)
    tell("READY=1")
elif sys.argv[1] == "stranger":
    tell("MAINPID=1\\nREADY=1")
time.sleep(1000)
"""


def teller(own: Own, what: str, *settings: str) -> str:
    script = own.scratch / "teller.py"
    script.write_text(TELLER)
    return "\n".join(("[Service]", "Type=notify", *settings, f"ExecStart={sys.executable} -S {script} {what} {own.scratch}/go", ""))


async def test_only_the_main_process_may_say_that_it_is_ready(own: Own) -> None:
    name = await own.run(teller(own, "child", "TimeoutStartSec=700ms"))
    assert (await own.ended(name)).result == "timeout"


async def test_notifyaccess_all_lets_children_say_it(own: Own) -> None:
    name = await own.run(teller(own, "child", "NotifyAccess=all"))
    await own.running(name)


async def test_a_unit_may_name_another_main_process_of_its_own(own: Own) -> None:
    name = await own.run(teller(own, "main", "Restart=no"))
    seen = await own.until(name, lambda seen: seen.active == "active", "active")
    entry = await asyncio.to_thread(look, seen.pid)
    assert entry is not None
    os.kill(seen.pid, signal.SIGKILL)
    assert (await own.ended(name)).result == "signal"


async def test_a_unit_may_not_name_a_process_that_is_not_its_own(own: Own) -> None:
    name = await own.run(teller(own, "stranger"))
    assert (await own.running(name)).pid != 1


async def test_a_unit_may_say_that_it_reloads(own: Own) -> None:
    name = await own.run(teller(own, "reload"))
    await own.running(name)
    (own.scratch / "go").touch()
    await own.until(name, lambda seen: seen.active == "reloading", "reloading")
    (own.scratch / "go").unlink()
    await own.running(name)


# ---------------------------------------------------------------------- links between units


async def test_an_automatic_restart_restarts_what_is_bound_too(own: Own) -> None:
    app, sidekick = await own.load(
        app="[Service]\nExecStart=/bin/sleep 1000\nRestart=always\nRestartSec=20ms\n",
        first="[Unit]\nBindsTo=@app@\nAfter=@app@\n" + SLEEPER,
    )
    await own.runtime.start([(app, 1), (sidekick, 1)])
    old, bound = await own.running(app), await own.running(sidekick)
    os.kill(old.pid, signal.SIGKILL)
    await own.until(app, lambda seen: is_running(seen) and seen.pid != old.pid, "running anew")
    again = await own.until(sidekick, lambda seen: is_running(seen) and seen.pid != bound.pid, "running anew")
    assert again.launch == 1


async def test_requires_does_not_care_when_the_other_dies_by_itself(own: Own) -> None:
    app, needy = await own.load(app=SLEEPER, first="[Unit]\nRequires=@app@\nAfter=@app@\n" + SLEEPER)
    await own.runtime.start([(needy, 1)])
    pid = (await own.running(app)).pid
    await own.running(needy)
    os.kill(pid, signal.SIGKILL)
    await own.ended(app)
    assert is_running(await own.see(needy))
    await own.runtime.stop([app])
    assert (await own.ended(needy)).result == "success"


async def test_units_that_are_not_loaded_here_are_no_hindrance(own: Own) -> None:
    name = await own.run("[Unit]\nRequires=docker.service\nBindsTo=network.service\nAfter=docker.service\n" + SLEEPER)
    await own.running(name)


async def test_one_that_requires_what_cannot_be_run_is_refused(own: Own) -> None:
    app, needy = await own.load(app="[Service]\nRestart=no\n", first="[Unit]\nRequires=@app@\n" + SLEEPER)
    with pytest.raises(RuntimeFailed) as caught:
        await own.runtime.start([(needy, 1)])
    assert app in caught.value.refused[needy]


# ---------------------------------------------------------------------- what is not honoured


@pytest.mark.parametrize(
    ("short", "text", "why"),
    [
        ("app.timer", "[Timer]\nOnBootSec=5\n", "services only"),
        ("app.socket", "[Socket]\nListenStream=80\n", "services only"),
        ("app@.service", SLEEPER, "template"),
        ("app", "[Service]\nType=forking\nExecStart=/bin/sleep 1000\n", "forking"),
        ("app", "[Service]\nExecStart=/bin/echo %r\n", "%r"),
        ("app", "", "empty"),
        ("app", "\x01\x02\x03", "control character"),
        ("app", "[Service\nExecStart=/bin/true\n", "section header"),
        ("app", "x" * (LARGEST_FILE + 1), "bytes"),
    ],
)
async def test_what_cannot_be_run_is_shown_with_the_reason_and_refused(own: Own, short: str, text: str, why: str) -> None:
    name = own.name(short)
    await own.runtime.load([(name, text)])
    seen = await own.see(name)
    assert (seen.load, seen.active) == ("bad-setting", "inactive")
    assert why in seen.error
    with pytest.raises(RuntimeFailed) as caught:
        await own.runtime.start([(name, 1)])
    assert caught.value.refused == {name: seen.error}


async def test_directives_that_are_not_honoured_are_named_in_the_units_log(own: Own) -> None:
    name = await own.run("[Service]\nPrivateTmp=yes\nMemoryMax=1G\nExecStart=/bin/sleep 1000\n")
    await own.running(name)
    lines = [line.text async for line in own.runtime.logs(name, 100, False) if line.text.startswith("Not honoured")]
    assert [line.split()[4] for line in lines] == ["PrivateTmp=", "MemoryMax="]


# ---------------------------------------------------------------------- numbers and names


async def test_two_hundred_units_run_at_once_and_none_is_left(own: Own) -> None:
    units = [(own.name(f"many@{number}.service"), SLEEPER) for number in range(200)]
    await own.runtime.load(units)
    await own.runtime.start([(name, 1) for name, _ in units])

    async def all_are(active: str) -> dict[str, int]:
        async with asyncio.timeout(30):
            while True:
                seen = await own.runtime.units()
                if all(seen[name].active == active for name, _ in units):
                    return {name: seen[name].pid for name, _ in units}
                await asyncio.sleep(0.05)

    pids = await all_are("active")
    assert len(set(pids.values())) == 200
    await own.runtime.stop([name for name, _ in units])
    await all_are("inactive")
    assert not any(map(alive, pids.values()))


async def test_the_longest_name_is_a_name(own: Own) -> None:
    name = own.name("x" * (255 - len(own.prefix) - 1 - len(".service")) + ".service")
    assert len(name) == 255
    await own.runtime.load([(name, "[Service]\nType=oneshot\nExecStart=/bin/echo here\n")])
    await own.runtime.start([(name, 1)])
    assert (await own.ended(name)).result == "success"
    assert await said(own, name, 1) == ["here"]


async def test_a_name_with_every_allowed_character_is_a_name(own: Own) -> None:
    name = own.name("aZ0:-_.\\x2f@b@c:d.service")
    await own.runtime.load([(name, "[Service]\nType=oneshot\nExecStart=/bin/echo %n\n")])
    await own.runtime.start([(name, 1)])
    assert (await own.ended(name)).result == "success"
    assert await said(own, name, 1) == [name]


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b.service", "..", ""])
async def test_a_name_that_is_a_path_reads_no_log(own: Own, name: str) -> None:
    with pytest.raises(InvalidUnit):
        await anext(own.runtime.logs(name, 10, False))
    with pytest.raises((NotFound, RuntimeFailed)):
        await own.runtime.detail(name)


async def test_a_unit_that_was_stopping_when_it_was_unloaded_can_be_loaded_again(own: Own) -> None:
    stubborn = "trap 'until test -e @dir@/go; do sleep 0.02; done; exit 0' TERM; echo up > @dir@/up; while :; do sleep 0.02; done"
    name = await own.run(shell(stubborn))
    await own.text("up")
    await own.runtime.unload([name])
    assert name not in await own.runtime.units()
    await own.load(app=SLEEPER)
    await own.runtime.start([(name, 9)])
    assert (await own.see(name)).launch == 9
    (own.scratch / "go").touch()
    seen = await own.running(name)
    assert Path(f"/proc/{seen.pid}/cmdline").read_bytes() == b"/bin/sleep\x001000\x00"


# ---------------------------------------------------------------------- the socket


async def test_only_its_owner_gets_at_it(own: Own) -> None:
    await own.run(SLEEPER)
    assert stat.S_IMODE(own.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((own.folder / SOCKET).stat().st_mode) == 0o600
    files = [path for path in own.folder.rglob("*") if not path.is_symlink()]
    assert [path for path in files if path.stat().st_mode & 0o077] == []


@pytest.mark.parametrize(
    "sent",
    [b"{}\n", b"garbage\n", b"\xff\xfe\n", b'{"id": 1, "op": "no such thing"}\n', b'{"id": 1, "op": "start", "launches": [1]}\n',
     b'{"id": "x", "op": "units"}\n', b"[" * 5000 + b"\n"],
)  # fmt: skip
async def test_what_is_no_request_is_answered_with_an_error(own: Own, sent: bytes) -> None:
    reader, writer = await asyncio.open_unix_connection(str(own.folder / SOCKET))
    async with asyncio.timeout(15):
        await reader.readline()
        writer.write(sent)
        assert b'"error"' in await reader.readline()
        writer.write(b'{"id": 2, "op": "units"}\n')
        assert b'"id":2' in await reader.readline()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def test_clients_that_leave_in_the_middle_or_never_read_harm_nobody(own: Own) -> None:
    name = await own.run(SLEEPER)
    writers = []
    for sent in (b'{"id": 1, "op"', b'{"id": 1, "op": "watch"}\n', b'{"id": 1, "op": "units"}\n' * 2000):
        _, writer = await asyncio.open_unix_connection(str(own.folder / SOCKET))
        writer.write(sent)
        await writer.drain()
        writers.append(writer)
    for launch in range(2, 6):
        await own.runtime.start([(name, launch)])
        await own.running(name)
    for writer in writers:
        writer.transport.abort()
    await own.running(name)


async def test_a_folder_that_is_too_long_for_a_socket_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailed, match="too long"):
        await SupervisorRuntime.connect(tmp_path / ("x" * 120), SystemClock())


async def test_a_folder_that_cannot_be_made_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RuntimeFailed, match="file"):
        await SupervisorRuntime.connect(tmp_path / "file" / "run", SystemClock())
