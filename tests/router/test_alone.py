"""A router as a process of its own: what it follows, how it ends, and as the first process of something like a container."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner

from argosy import proc
from argosy.cli.main import cli
from argosy.errors import Conflict, InvalidInput, Unsuitable
from argosy.router import process
from argosy.router.alone import alone_in, keys_doors
from tests.api.house import House, a_house
from tests.router.web import Backend, alive, ask, backend, free_port, needs_nginx, until, until_async

ROOT = Path(__file__).parent.parent.parent
PROGRAM = "import sys; from argosy.cli.main import main; sys.argv[0] = 'argosy'; main()"

DOORS: list[tuple[str, Mapping[str, str], str, Sequence[str]]] = [
    ("the seeds' variables", {"HOST_IP": "192.0.2.1", "ETCD_PORT": "4001"}, "", ["http://192.0.2.1:4001"]),
    ("without a port", {"HOST_IP": "192.0.2.1"}, "", ["http://192.0.2.1:4001"]),
    ("etcd's later port", {"HOST_IP": "192.0.2.1", "ETCD_PORT": "2379"}, "", ["http://192.0.2.1:2379"]),
    ("IPv6", {"HOST_IP": "fd00::1"}, "", ["http://[fd00::1]:4001"]),
    ("an option goes first", {"HOST_IP": "192.0.2.1"}, "http://a:1,b:2", ["http://a:1", "http://b:2"]),
    ("etcdctl's variables", {"ETCDCTL_ENDPOINTS": "http://a:1"}, "", ["http://a:1"]),
    ("this machine's door", {}, "", ["http://127.0.0.1:4001"]),
]


@pytest.mark.parametrize(("_why", "environ", "given", "doors"), DOORS, ids=[row[0] for row in DOORS])
def test_what_is_followed(_why: str, environ: Mapping[str, str], given: str, doors: Sequence[str]) -> None:
    assert list(keys_doors(environ, given)) == doors


@pytest.mark.parametrize("environ", [{"HOST_IP": "a b"}, {"HOST_IP": "a", "ETCD_PORT": "x"}])
def test_what_cannot_be_followed_is_refused(environ: Mapping[str, str]) -> None:
    with pytest.raises(InvalidInput, match="no keys door"):
        keys_doors(environ)


def test_two_routers_do_not_share_a_folder(tmp_path: Path) -> None:
    with alone_in(tmp_path / "router"), pytest.raises(Conflict, match="another router runs"), alone_in(tmp_path / "router"):
        pass
    with alone_in(tmp_path / "router"):
        assert (tmp_path / "router").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(Unsuitable, match="cannot write into"), alone_in(tmp_path / "file" / "router"):
        pass


def test_children_that_nobody_waits_for_are_collected_at_the_second_look() -> None:
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    ended = process.reap(frozenset())
    assert child.pid in ended
    process.reap(frozenset({child.pid}))
    assert not Path(f"/proc/{child.pid}").exists()
    assert child.wait() == 0


class Alone:
    """The process, and what it says."""

    def __init__(self, child: Process, port: int, folder: Path) -> None:
        self.child = child
        self.port = port
        self.folder = folder
        self.out = ""
        self.err = ""

    async def listen(self) -> None:
        async def take(stream: asyncio.StreamReader, name: str) -> None:
            while line := await stream.readline():
                setattr(self, name, getattr(self, name) + line.decode())

        assert self.child.stdout is not None
        assert self.child.stderr is not None
        await asyncio.gather(take(self.child.stdout, "out"), take(self.child.stderr, "err"))

    async def answers(self, host: str, body: str, path: str = "/") -> None:
        async def answered() -> bool:
            with suppress(OSError, EOFError):
                return (await ask(self.port, host, path)).body == body
            return False

        try:
            await until_async(answered, f"{host} answers {body}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it says: {self.err}") from error

    async def nginx(self) -> int:
        """The master's pid, 0 where none runs."""
        return await asyncio.to_thread(process.find_master, self.folder, self.folder / "nginx.pid")


@asynccontextmanager
async def alone(place: Path, *options: str, environ: Mapping[str, str] | None = None) -> AsyncIterator[Alone]:
    port, folder = free_port(), place / "run" / "router"
    environment = {"PATH": os.environ["PATH"], "HOME": str(place), "ARGOSY_PATHS_RUN": str(place / "run"), **(environ or {})}
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, "router", "--listen", f"127.0.0.1:{port}", "--domain", "example.org", *options),
        stdout=PIPE,
        stderr=PIPE,
        env=environment,
    )
    made = Alone(child, port, folder)
    listening = asyncio.create_task(made.listen())
    try:
        yield made
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()
        if (pid := await made.nginx()) > 0:
            os.kill(pid, signal.SIGTERM)
            await until(lambda: not alive(pid), "nginx ends")
        await listening


async def announce(house: House, session: aiohttp.ClientSession, key: str, value: str) -> None:
    async with session.put(f"http://{house.address('keys')}/v2/keys/services/web/{key}", data={"value": value, "ttl": "60"}) as response:
        assert response.status in (200, 201)


@needs_nginx
async def test_it_serves_what_is_announced_and_passes_nginxs_logs_on(tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as session, backend("one") as one, backend("two") as two, a_house(tmp_path / "house") as house:
        host, _, port = house.address("keys").rpartition(":")
        await announce(house, session, "hello/1", one.address)
        async with alone(tmp_path, "--access-log", environ={"HOST_IP": host, "ETCD_PORT": port}) as made:
            await made.answers("hello.example.org", "one")
            await announce(house, session, "shop/1", two.address)
            await made.answers("shop.example.org", "two")
            await announce(house, session, "bad/1", "nowhere")
            await until(lambda: "refused route /services/web/bad/1" in made.err, "it is said")
            await made.answers("hello.example.org", "one", "/a-path?b")
            await until(lambda: '"GET /a-path?b HTTP/1.1" 200' in made.out, "the request is in stdout")
            one.dead = True
            await one.hang_up()
            assert (await ask(made.port, "hello.example.org", "/while-it-is-dead")).status == 502
            await until(lambda: "while-it-is-dead" in made.err, "nginx's error is in stderr")


@needs_nginx
async def test_it_goes_on_without_the_keys_and_takes_them_up_again(tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as session, backend("one") as one:
        keys_port = free_port()
        listen: dict[str, Any] = {"keys__listen": [f"127.0.0.1:{keys_port}"]}
        async with alone(tmp_path, "--etcd", f"http://127.0.0.1:{keys_port}") as made:
            await until(lambda: "cannot follow /services/web" in made.err, "it is said that the keys are away")
            async with a_house(tmp_path / "house", **listen) as house:
                await announce(house, session, "hello/1", one.address)
                await made.answers("hello.example.org", "one")
            await until(lambda: made.err.count("cannot follow") >= 2, "it is said again")
            await made.answers("hello.example.org", "one")
            async with a_house(tmp_path / "again", **listen) as house:
                await announce(house, session, "shop/1", one.address)
                await made.answers("shop.example.org", "one")

                async def gone() -> bool:
                    return (await ask(made.port, "hello.example.org")).status == 404

                await until_async(gone, "what the keys no longer say is served no more")


class Slow(Backend):
    """Answers when it is told to."""

    def __init__(self) -> None:
        super().__init__("slow")
        self.asked = asyncio.Event()
        self.may = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked.set()
        await self.may.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nslow")
        writer.close()


@needs_nginx
async def test_told_to_stop_it_lets_requests_finish_and_nothing_is_left(tmp_path: Path) -> None:
    slow = Slow()
    listening = await asyncio.start_server(slow.serve, "127.0.0.1", 0)
    slow.port = listening.sockets[0].getsockname()[1]
    async with aiohttp.ClientSession() as session, a_house(tmp_path / "house") as house:
        await announce(house, session, "slow/1", slow.address)
        async with alone(tmp_path, "--etcd", f"http://{house.address('keys')}") as made:
            await made.answers("_argosy", "ok\n", "/_argosy/health")
            nginx = await made.nginx()
            asking = asyncio.create_task(ask(made.port, "slow.example.org"))
            await asyncio.wait_for(slow.asked.wait(), 10)
            made.child.send_signal(signal.SIGTERM)
            await until(lambda: "requests have 8 s" in made.err, "it begins to stop")
            await until(lambda: not _listens(made.port), "nothing new is taken")
            slow.may.set()
            assert (await asking).body == "slow"
            assert await asyncio.wait_for(made.child.wait(), 10) == 0
            assert not alive(nginx)
    listening.close()


def _listens(port: int) -> bool:
    return any(f":{port:04X} " in line.split(None, 3)[1] + " " and line.split()[3] == "0A" for line in _tcp())


def _tcp() -> list[str]:
    return Path("/proc/net/tcp").read_text().splitlines()[1:]


WRONG: list[tuple[list[str], str]] = [
    (["--hsts", "5"], "need https"),
    (["--redirect"], "need https"),
    (["--tls-listen", "0.0.0.0:8443"], "needs certificates"),
    (["--prefix", "/a/../b"], "no prefix"),
    (["--etcd", "ftp://x"], "no keys door"),
    (["--domain", "A b"], "domain"),
    (["--listen", "everywhere"], "no address"),
]


@pytest.mark.parametrize(("options", "named"), WRONG, ids=[" ".join(row[0]) for row in WRONG])
def test_what_is_wrong_is_named_before_anything_runs(tmp_path: Path, options: list[str], named: str) -> None:
    told = CliRunner().invoke(cli, ["router", "--folder", str(tmp_path / "router"), *options])
    assert told.exit_code == 2
    assert named in told.output
    assert "Traceback" not in told.output


def _python() -> str:
    """A Python that everybody may run: this one, or the system's of the same version."""
    real = Path(sys.executable).resolve()
    if all(parent.stat().st_mode & 0o001 for parent in (real, *real.parents)):
        return sys.executable
    return f"/usr/bin/python3.{sys.version_info.minor}"


CONTAINED = """
set -e
mount -t tmpfs -o mode=1777 tmpfs "$1"
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -o remount,ro,bind /
sysctl -q -w net.ipv4.ip_unprivileged_port_start=0
shift
exec setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all "$@"
"""


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that every user can reach, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="argosy-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@needs_nginx
@pytest.mark.skipif(os.getuid() != 0, reason="namespaces need root")
async def test_as_the_first_process_of_a_container_without_root_on_a_read_only_disk(reachable: Path) -> None:
    """In namespaces of its own: process 1, another user, nothing writable but its run folder, ports 80 and 443 below the usual limit."""
    if not Path(_python()).exists() or shutil.which("unshare") is None:
        pytest.skip("there is no Python that another user may run")
    space = f"argosy-{os.getpid()}-alone"
    inside = ("nsenter", f"--net=/run/netns/{space}")
    run, log = reachable / "run", reachable / "log"
    run.mkdir()
    log.touch()
    await _run("ip", "netns", "add", space)
    children: list[Process] = []
    writer = log.open("wb")
    try:
        await _run(*inside, "ip", "link", "set", "lo", "up")
        keys = await asyncio.create_subprocess_exec(
            *inside, sys.executable, "-m", "tests.api.machine", str(reachable / "house"), stdout=PIPE, cwd=ROOT
        )
        children.append(keys)
        assert keys.stdout is not None
        port = (await asyncio.wait_for(keys.stdout.readline(), 20)).decode().split()[1]
        await _run(
            *inside, "curl", "-sSf", "-X", "PUT", f"http://127.0.0.1:{port}/v2/keys/services/web/hello/1", "-d", f"value=127.0.0.1:{port}"
        )
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), *(path for path in sys.path if "site-packages" in path)]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "ARGOSY_PATHS_RUN": str(run),
            "HOST_IP": "127.0.0.1",
            "ETCD_PORT": port,
        }
        child = await asyncio.create_subprocess_exec(
            *(*inside, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
            *("sh", "-c", CONTAINED, "sh", str(run), _python(), "-c", PROGRAM, "router"),
            stdout=writer,
            stderr=STDOUT,
            env=environment,
        )
        children.append(child)

        async def answered() -> bool:
            said = await _said(*inside, "curl", "-sS", "-H", "Host: hello", "http://127.0.0.1/version")
            return "came through a proxy" in said  # the keys door, which the app of this test is, takes nothing that a router passes on

        await until_async(answered, "it serves on port 80", 20.0)
        first = await _first(child)
        assert Path(f"/proc/{first}/status").read_text().split("NSpid:")[1].split()[1] == "1"
        master = _nginx_below(first)
        assert Path(f"/proc/{master}/status").read_text().split("\nUid:")[1].split()[0] == "65534"
        os.kill(master, signal.SIGKILL)
        await until(lambda: "argosy.router.nginx: nginx runs" in log.read_text().partition("has ended")[2], "nginx is started again")
        await until_async(answered, "it serves again")
        await until(lambda: not _zombies(first), "nobody is left unburied")
        os.kill(first, signal.SIGTERM)
        assert await asyncio.wait_for(child.wait(), 15) == 0
        assert "Traceback" not in log.read_text()
    except AssertionError as error:
        raise AssertionError(f"{error}; it says: {log.read_text()}") from error
    finally:
        writer.close()
        for one in children:
            if one.returncode is None:
                one.kill()
                await one.wait()
        await _run("ip", "netns", "delete", space)


async def _run(*command: str) -> None:
    child = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    assert await child.wait() == 0, command


async def _said(*command: str) -> str:
    child = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
    return (await child.communicate())[0].decode()


async def _first(unshare: Process) -> int:
    """The first process of the namespace that unshare has made."""
    return int((await _said("pgrep", "-P", str(unshare.pid))).split()[0])


def _children(pid: int) -> list[int]:
    return [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]


def _nginx_below(first: int) -> int:
    return next(child for child in _children(first) if proc.command_line(child).startswith(process.MASTER))


def _zombies(first: int) -> list[int]:
    return [child for child in _children(first) if (seen := proc.look(child)) is not None and seen.dead]
