"""nginx, the real one: started, reloaded, refused, killed, found again."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from argosy.errors import RuntimeFailed, Unsuitable
from argosy.router import process
from argosy.router.base import Proxy
from argosy.router.nginx import MOST_CHECKED, Nginx, reason, word
from tests.contracts.proxy_contract import Ground, ProxyContract
from tests.router.memory import Host, MemoryProxy
from tests.router.web import alive, ask, free_port, needs_nginx, nginx, until, until_async

CONFIG = """pid nginx.pid;
error_log error.log warn;
worker_processes 2;
worker_shutdown_timeout 1h;
events { worker_connections 64; }
http {
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server { listen 127.0.0.1:PORT; location / { return 200 "TEXT"; } location /body { client_body_in_file_only on; MORE } }
}
"""


def config(port: int, text: str, more: str = "return 204;") -> str:
    return CONFIG.replace("PORT", str(port)).replace("TEXT", text).replace("MORE", more)


class MemoryGround:
    def __init__(self) -> None:
        self.host = Host()

    def proxy(self) -> Proxy:
        return MemoryProxy(self.host)

    def config(self, text: str) -> str:
        return config(80, text)

    async def answer(self) -> str | None:
        return self.host.running.partition('return 200 "')[2].partition('"')[0] or None

    async def kill(self) -> None:
        self.host.kill()

    async def generation(self) -> object:
        return self.host.generation


class NginxGround:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.made: list[Nginx] = []

    def proxy(self) -> Proxy:
        self.made.append(Nginx(self.folder))
        return self.made[-1]

    def config(self, text: str) -> str:
        return config(self.port, text)

    async def answer(self) -> str | None:
        try:
            return (await ask(self.port, "any")).body
        except OSError:
            return None

    async def kill(self) -> None:
        os.kill(await asyncio.to_thread(process.find_master, self.folder, self.folder / "nginx.pid"), signal.SIGKILL)

    async def generation(self) -> object:
        """Its workers, once both have been started."""
        master = await asyncio.to_thread(process.find_master, self.folder, self.folder / "nginx.pid")
        found: dict[int, bool] = {}

        async def both() -> bool:
            found.clear()
            found.update(await asyncio.to_thread(process.workers, master))
            return list(found.values()) == [False, False]

        await until_async(both, "both workers run")
        return sorted(found)


class TestMemoryProxy(ProxyContract):
    @pytest.fixture
    async def ground(self) -> Ground:
        return MemoryGround()


@needs_nginx
class TestNginx(ProxyContract):
    @pytest.fixture
    async def ground(self, tmp_path: Path) -> AsyncIterator[Ground]:
        ground = NginxGround(tmp_path / "a folder; with {odd} $name")
        yield ground
        for proxy in ground.made:
            await proxy.stop()


@needs_nginx
async def test_killing_the_master_leaves_no_worker_behind_that_holds_the_port(tmp_path: Path) -> None:
    port = free_port()
    async with nginx(tmp_path) as proxy:
        await proxy.apply(config(port, "good"))
        old = await asyncio.to_thread(process.workers, proxy.pid)
        os.kill(proxy.pid, signal.SIGKILL)
        await proxy.wait_lost()
        await proxy.apply(config(port, "good"))
        await until(lambda: not any(alive(pid) for pid in old), "the killed master's workers are gone")
        assert (await ask(port, "any")).body == "good"
        inside = await asyncio.to_thread(process.orphans, tmp_path)
        assert inside.keys() == (await asyncio.to_thread(process.workers, proxy.pid)).keys()


@needs_nginx
async def test_a_port_that_is_taken_is_said_in_nginx_s_words_and_served_once_it_is_free(tmp_path: Path) -> None:
    taken = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    async with nginx(tmp_path) as proxy:
        with pytest.raises(RuntimeFailed, match=r"does not start: bind\(\) to 127.0.0.1:\d+ failed \(98: Address already in use\)"):
            await proxy.apply(config(port, "good"))
        assert proxy.active == ""
        taken.close()
        await taken.wait_closed()
        await proxy.apply(config(port, "good"))
        assert (await ask(port, "any")).body == "good"


@needs_nginx
async def test_a_reload_that_cannot_bind_is_told_from_the_error_log_and_the_old_configuration_goes_on(tmp_path: Path) -> None:
    taken = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    port = free_port()
    async with nginx(tmp_path) as proxy:
        await proxy.apply(config(port, "good"))
        with pytest.raises(RuntimeFailed, match=r"goes on with the configuration it had: bind\(\) .* Address already in use"):
            await proxy.apply(config(taken.sockets[0].getsockname()[1], "moved"))
        assert proxy.active == config(port, "good")
        assert (tmp_path / "nginx.conf").read_text() == config(port, "good")
        assert (await ask(port, "any")).body == "good"
    taken.close()
    await taken.wait_closed()


@needs_nginx
async def test_a_refusal_names_nginx_s_reason_and_line_once_without_its_clock(tmp_path: Path) -> None:
    async with nginx(tmp_path) as proxy:
        with pytest.raises(RuntimeFailed) as caught:
            await proxy.apply("pid nginx.pid; events {}\nnonsense on;\n")
        assert caught.value.message == 'nginx refuses the configuration: unknown directive "nonsense" in ./nginx.conf.new:2'


@needs_nginx
async def test_requests_in_flight_survive_reloads_under_load(tmp_path: Path) -> None:
    port = free_port()
    async with nginx(tmp_path) as proxy:
        await proxy.apply(config(port, "0"))
        done = False

        async def load() -> int:
            count = 0
            while not done:
                assert (await ask(port, "any")).status == 200
                count += 1
            return count

        clients = [asyncio.create_task(load()) for _ in range(4)]
        for number in range(1, 5):
            await proxy.apply(config(port, str(number)))
        done = True
        assert sum(await asyncio.gather(*clients)) > 50


@needs_nginx
async def test_long_connections_outlive_reloads_and_the_eldest_workers_are_ended_when_there_are_too_many(tmp_path: Path) -> None:
    port = free_port()
    reached = 0
    finish = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal reached
        reached += 1
        await finish.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
        writer.close()

    server = await asyncio.start_server(slow, "127.0.0.1", 0)
    passing = f"proxy_pass http://127.0.0.1:{server.sockets[0].getsockname()[1]};"
    async with nginx(tmp_path, most_lingering=2) as proxy:
        held = []
        for number in range(4):
            await proxy.apply(config(port, str(number), passing))
            held.append(asyncio.create_task(ask(port, "any", "/body")))
            await until(lambda: reached == len(held), "the request has reached the backend")
        await proxy.apply(config(port, "last", passing))
        assert proxy.lingering == 2
        await until(lambda: held[0].done() and held[1].done(), "the eldest two are ended")
        assert not held[2].done()
        finish.set()
        assert [(await one).body for one in held[2:]] == ["late", "late"]
        assert all(isinstance(one.exception(), EOFError) for one in held[:2])
    server.close()
    await server.wait_closed()


@needs_nginx
async def test_a_stale_pidfile_that_names_another_process_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "nginx.pid").write_text(f"{os.getpid()}\n")
    async with nginx(tmp_path) as proxy:
        assert not await proxy.adopt()
        await proxy.apply(config(port := free_port(), "good"))
        (tmp_path / "nginx.pid").write_text("")
        again = Nginx(tmp_path)
        assert await again.adopt()
        assert again.pid == proxy.pid
        assert (await ask(port, "any")).body == "good"
        await again.close()


@needs_nginx
async def test_a_running_nginx_whose_file_was_never_confirmed_is_adopted_but_not_believed(tmp_path: Path) -> None:
    port = free_port()
    async with nginx(tmp_path) as proxy:
        await proxy.apply(config(port, "old"))
        await proxy.close()
        (tmp_path / "nginx.conf").write_text(config(port, "half way"))
        again = Nginx(tmp_path)
        assert await again.adopt()
        assert again.active == ""
        await again.apply(config(port, "half way"))
        assert (await ask(port, "any")).body == "half way"
        await again.close()


@needs_nginx
async def test_large_bodies_reach_disk_even_where_the_workers_could_not_walk_to_the_folder(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    port = free_port()
    async with nginx(hidden / "router") as proxy:
        await proxy.apply(config(port, "x", f"proxy_pass http://127.0.0.1:{port}/;"))
        answer = await ask(port, "any", "/body", method="POST", body=b"x" * 300_000)
        assert (answer.status, answer.body) == (200, "x")


@needs_nginx
async def test_a_log_that_has_grown_is_put_aside_and_begun_anew(tmp_path: Path) -> None:
    async with nginx(tmp_path, most_log=10) as proxy:
        port = free_port()
        await proxy.apply(config(port, "one"))
        (tmp_path / "error.log").write_text("a line that is long enough\n")
        await proxy.apply(config(port, "two"))
        assert (tmp_path / "error.log.1").read_text() == "a line that is long enough\n"
        await until(lambda: (tmp_path / "error.log").exists(), "nginx has opened its log anew")


async def test_without_nginx_it_is_said_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(Unsuitable, match="install nginx"):
        await Nginx(tmp_path, ("no-such-nginx",)).apply("events {}")


async def test_a_folder_that_cannot_be_written_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RuntimeFailed, match=r"Not a directory|File exists"):
        await Nginx(tmp_path / "file" / "router").apply("events {}")


async def test_an_nginx_that_never_ends_its_check_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailed, match=r"has not ended after 0.1 s"):
        await Nginx(tmp_path, ("sh", "-c", "exec sleep 60"), patience=0.1).apply("events {}")


WORDS = [
    (
        "nginx: [emerg] unknown directive\nnginx: configuration file x test failed\n",
        "unknown directive",
        "the reason without what follows from it",
    ),
    ("2026/01/01 00:00:00 [emerg] 12#12: bind() failed\n" * 3, "bind() failed", "a reason repeated is said once"),
    ("nginx: [alert] something\n", "nginx: [alert] something", "without a reason, all of it"),
    ("", "", "silence"),
]


@pytest.mark.parametrize(("said", "expected", "why"), WORDS, ids=[row[2] for row in WORDS])
def test_nginx_s_word_is_its_reason(said: str, expected: str, why: str) -> None:
    assert word(said) == expected


REASONS = [
    ("its own words", 1, "2026/01/01 00:00:00 [emerg] 7#7: unknown directive x", "unknown directive x"),
    ("a program that a shell or nsenter did not find", 127, "", "there is no such program"),
    ("one that may not run", 126, "\n", "it may not be executed"),
    ("a signal, such as that of a full memory", -9, "", "it was ended by SIGKILL"),
    ("silence", 1, "", "it exited with status 1 and said nothing"),
]


@pytest.mark.parametrize(("sentence", "code", "said", "expected"), REASONS, ids=[row[0] for row in REASONS])
def test_failure_always_has_a_reason(sentence: str, code: int, said: str, expected: str) -> None:
    assert reason(code, said) == expected


@needs_nginx
async def test_a_large_configuration_is_not_read_twice_and_a_mistake_in_it_leaves_the_one_before_in_service(tmp_path: Path) -> None:
    port = free_port()
    large = f"# {'x' * 99}\n" * (MOST_CHECKED // 100)
    async with nginx(tmp_path) as proxy:
        await proxy.apply(config(port, "good"))
        with pytest.raises(RuntimeFailed, match=r'goes on with the configuration it had: unknown directive "nonsense"'):
            await proxy.apply(config(port, "bad") + large + "nonsense on;\n")
        assert proxy.active == config(port, "good")
        assert (tmp_path / "nginx.conf").read_text() == config(port, "good")
        assert (tmp_path / "nginx.conf.new").read_text().endswith("nonsense on;\n")
        assert (await ask(port, "any")).body == "good"
        await proxy.apply(config(port, "better") + large)
        assert (await ask(port, "any")).body == "better"
