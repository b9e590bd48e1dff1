"""Whom the command line asks, and what it makes of every kind of answer."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from argosy.api.shapes import MachineList, MachineView
from argosy.cli import wire
from argosy.cli.client import Client, Unreachable, endpoints, failure
from argosy.errors import ArgosyError, Conflict, InvalidInput, NotFound, Refused, StoreUnavailable
from argosy.model import Facts
from tests.cli.stage import invoke

ENDPOINTS = [
    ("unix:///run/argosy.sock", wire.Endpoint("unix:///run/argosy.sock", path="/run/argosy.sock")),
    ("/run/argosy.sock", wire.Endpoint("unix:///run/argosy.sock", path="/run/argosy.sock")),
    ("http://127.0.0.1:8700", wire.Endpoint("http://127.0.0.1:8700", host="127.0.0.1", port=8700)),
    ("http://127.0.0.1:8700/", wire.Endpoint("http://127.0.0.1:8700", host="127.0.0.1", port=8700)),
    ("localhost", wire.Endpoint("http://localhost:8700", host="localhost", port=8700)),
    ("m1:81", wire.Endpoint("http://m1:81", host="m1", port=81)),
    ("http://[::1]:8701", wire.Endpoint("http://[::1]:8701", host="::1", port=8701)),
    ("[::1]", wire.Endpoint("http://[::1]:8700", host="::1", port=8700)),
]


@pytest.mark.parametrize(("text", "meant"), ENDPOINTS, ids=[row[0] for row in ENDPOINTS])
def test_endpoints_as_people_write_them(text: str, meant: wire.Endpoint) -> None:
    assert wire.endpoint(text) == meant


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "http://",
            "unix://",
            "unix://relative",
            "https://x:1",
            "ftp://x",
            "http://x:port",
            "http://x:0",
            "http://x:65536",
            "http://x:٣",
        ),
        *("http://x/path", "http://u@x:1", "http://x y", "[::1", "http://[::1]x", "x:1:2", "http://x\r\nHost: y"),
    ],
)
def test_what_is_no_endpoint_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"is not an endpoint \(write unix:///path/argosy.sock or http://127.0.0.1:8700\)"):
        wire.endpoint(text)


def test_words_in_paths_are_quoted() -> None:
    assert wire.quoted("a@1.service") == "a@1.service"
    assert wire.quoted("../x y?#%é") == "..%2Fx%20y%3F%23%25%C3%A9"
    assert wire.query([("name", "a&b"), ("wait", "1")]) == "?name=a%26b&wait=1"
    assert wire.query([]) == ""


def lab(folder: Path, name: str) -> None:
    (folder / ".local/state/argosy-lab" / name).mkdir(parents=True)
    machines = [{"name": "m1", "number": 1, "off": True}, {"name": "m2", "number": 2}]
    record = {"folder": f"/labs/{name}", "machines": machines}
    (folder / ".local/state/argosy-lab" / name / "lab.json").write_text(json.dumps(record))


USERS = [["unix:///home/u/.local/state/argosy/run/argosy.sock"], ["unix:///run/argosy/argosy.sock"]]


@pytest.mark.parametrize(
    ("sentence", "given", "environ", "expected"),
    [
        ("what is given goes first", "http://a:1", {"ARGOSY_ENDPOINT": "http://b:2"}, [["http://a:1"]]),
        ("then the variable", None, {"ARGOSY_ENDPOINT": "http://b:2", "ARGOSY_LAB": "one"}, [["http://b:2"]]),
        ("several of one cluster", "http://a:1, http://b:2", {}, [["http://a:1", "http://b:2"]]),
        ("fleetctl's variable counts too", None, {"FLEETCTL_ENDPOINT": "http://c:3"}, [["http://c:3"]]),
        ("then the user's own agent and the system's", None, {"HOME": "/home/u"}, USERS),
        ("an empty variable is none", None, {"HOME": "/home/u", "ARGOSY_ENDPOINT": "", "ARGOSY_LAB": ""}, USERS),
    ],
)
def test_whom_to_ask(sentence: str, given: str | None, environ: dict[str, str], expected: list[list[str]], tmp_path: Path) -> None:
    assert [list(group) for group in endpoints(given, environ, uid=1000, labs=str(tmp_path))] == expected


def test_a_lab_is_asked_last_or_alone_if_it_is_named(tmp_path: Path) -> None:
    lab(tmp_path, "lab")
    lab(tmp_path, "one")
    labs = str(tmp_path / ".local/state/argosy-lab")
    found = endpoints(None, {"HOME": "/home/u"}, uid=1000, labs=labs)
    assert [list(group) for group in found] == [*USERS, ["unix:///labs/lab/m2/run/argosy.sock", "unix:///labs/lab/m1/run/argosy.sock"]]
    found = endpoints(None, {"HOME": "/home/u", "ARGOSY_LAB": "one"}, uid=1000, labs=labs)
    assert [list(group) for group in found] == [["unix:///labs/one/m2/run/argosy.sock", "unix:///labs/one/m1/run/argosy.sock"]]
    with pytest.raises(NotFound, match="there is no lab 'two' on this host"):
        endpoints(None, {"ARGOSY_LAB": "two"}, uid=1000, labs=labs)


Answering = Callable[[str], bytes]


@contextmanager
def server(path: Path, answer: Answering) -> Iterator[str]:
    """Answers each connection's request with bytes, as they are."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    asked = connection.recv(65536).decode()
                    if asked:
                        connection.sendall(answer(asked))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"unix://{path}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def reply(status: int, body: bytes = b"{}", length: int | None = None) -> bytes:
    return f"HTTP/1.1 {status} x\r\nContent-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body


def unhealthy(asked: str) -> bytes:
    return reply(503 if "/health" in asked else 200, b'{"from": "unhealthy"}')


def healthy(asked: str) -> bytes:
    return reply(200, b'{"from": "healthy"}')


def test_of_several_agents_the_first_that_is_well_is_asked(tmp_path: Path) -> None:
    with server(tmp_path / "a", unhealthy) as one, server(tmp_path / "b", healthy) as two:
        assert Client([[f"unix://{tmp_path}/gone", one, two]]).get(dict[str, str], "/x") == {"from": "healthy"}
        assert Client([[f"unix://{tmp_path}/gone", one]]).get(dict[str, str], "/x") == {"from": "unhealthy"}


def test_an_agent_of_ones_own_is_asked_before_others_even_if_it_is_not_well(tmp_path: Path) -> None:
    with server(tmp_path / "a", unhealthy) as one, server(tmp_path / "b", healthy) as two:
        assert Client([[one], [two]]).get(dict[str, str], "/x") == {"from": "unhealthy"}
        assert Client([[f"unix://{tmp_path}/gone"], [two]]).get(dict[str, str], "/x") == {"from": "healthy"}


def test_a_question_as_it_is_sent(tmp_path: Path) -> None:
    heard: list[str] = []

    def answer(asked: str) -> bytes:
        heard.append(asked)
        return reply(200, b"{}")

    with server(tmp_path / "a", answer) as where:
        assert Client([[where]]).request(dict[str, str], "POST", "/units", {"a": "é"}) == {}
        assert Client([[where]]).get(dict[str, str], "/units") == {}
    assert heard[0] == (
        "POST /argosy/v1/units HTTP/1.0\r\nHost: localhost\r\nAccept: application/json\r\n"
        'Content-Type: application/json\r\nContent-Length: 10\r\n\r\n{"a":"é"}'
    )
    assert heard[1] == "GET /argosy/v1/units HTTP/1.0\r\nHost: localhost\r\nAccept: application/json\r\n\r\n"


ANSWERS: Sequence[tuple[str, bytes, str]] = [
    ("it hangs up", b"", "gave no answer: no answer came"),
    ("it is cut short", reply(200, b'{"a": 1', 20), "gave no answer: the answer broke off"),
    ("it is an ssh server", b"SSH-2.0-OpenSSH_9.2\r\n", "gave no answer: what answers there is no agent: it does not speak HTTP"),
    ("its status is none", b"HTTP/1.1 abc\r\n\r\n", "it does not speak HTTP"),
    ("its head has no end", b"HTTP/1.1 200 OK\r\n" + b"a: " + b"b" * 200_000, "its answer has no end of headers"),
    ("it is empty", reply(200, b""), "is no agent: it sends no JSON"),
    ("it is another program's", reply(200, b"<html>"), "is no agent: it sends no JSON"),
]


@pytest.mark.parametrize(("sentence", "answer", "said"), ANSWERS, ids=[row[0] for row in ANSWERS])
def test_what_is_no_answer(sentence: str, answer: bytes, said: str, tmp_path: Path) -> None:
    with server(tmp_path / "a", lambda asked: answer) as where, pytest.raises(Unreachable) as caught:
        Client([[where]]).get(dict[str, str], "/x")
    assert said in caught.value.message
    assert f"unix://{tmp_path}/a" in caught.value.message
    assert caught.value.remedy


def test_an_agent_that_is_stuck_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.bind(str(tmp_path / "a"))
        silent.listen()
        with pytest.raises(Unreachable, match="gave no answer: it took too long"):
            Client([[f"unix://{tmp_path}/a"]], timeout=0.05).get(dict[str, str], "/x")


def test_lines_come_one_by_one_and_a_broken_one_is_told(tmp_path: Path) -> None:
    with server(tmp_path / "a", lambda asked: b'HTTP/1.0 200 OK\r\n\r\n{"n": 1}\n\n{"n": 2}\n{"n"') as where:
        lines = Client([[where]]).stream(dict[str, int], "/x")
        assert [next(lines), next(lines)] == [{"n": 1}, {"n": 2}]
        with pytest.raises(Unreachable):
            next(lines)


def test_what_a_newer_agent_says_beyond_it_is_left_out_and_what_an_older_one_does_not_say_is_empty(tmp_path: Path) -> None:
    newer = b'{"machines": [{"id": "1", "colour": "red", "facts": {"cores": 2, "gpus": [1]}}], "index": 3, "more": {}}'
    with server(tmp_path / "a", lambda asked: reply(200, newer)) as where:
        assert Client([[where]]).get(MachineList, "/machines") == MachineList([MachineView("1", facts=Facts(cores=2))], 3)


def test_an_answer_of_another_shape_is_told_with_what_is_wrong(tmp_path: Path) -> None:
    with server(tmp_path / "a", lambda asked: reply(200, b'{"machines": 7}')) as where, pytest.raises(Unreachable) as caught:
        Client([[where]]).get(MachineList, "/machines")
    assert caught.value.message.startswith(f"the agent at unix://{tmp_path}/a answers what this argosy does not understand: ")
    assert "machines" in caught.value.message
    assert caught.value.remedy == "use the same version of argosy on both sides"


FAILURES: Sequence[tuple[int, bytes, type[ArgosyError], str, str]] = [
    (404, b'{"error": {"code": 404, "message": "no", "remedy": "do"}}', NotFound, "no", "do"),
    (400, b'{"error": {"message": "bad"}}', InvalidInput, "bad", ""),
    (409, b'{"error": "late"}', Conflict, "late", ""),
    (403, b"[]", Refused, "[]", ""),
    (503, b"", StoreUnavailable, "the agent answered with status 503", ""),
    (502, b"<html>Bad Gateway</html>", ArgosyError, "<html>Bad Gateway</html>", ""),
    (418, b"\xff", ArgosyError, "�", ""),
]


@pytest.mark.parametrize(("status", "body", "kind", "message", "remedy"), FAILURES, ids=[str(row[0]) for row in FAILURES])
def test_a_failure_keeps_its_own_words(status: int, body: bytes, kind: type[ArgosyError], message: str, remedy: str) -> None:
    error = failure(status, body)
    assert (type(error), error.message, error.remedy) == (kind, message, remedy)


START = "  start one with argosy up, or a whole cluster with argosy lab up\n"


@pytest.mark.parametrize("words", ["list-units", "start a", "status a", "why a", "drain m1", "journal a", "routes", "ssh m1", "destroy a"])
def test_nobody_there_says_what_to_do_next(words: str, tmp_path: Path) -> None:
    said = invoke(*words.split(), env={"ARGOSY_ENDPOINT": f"unix://{tmp_path}/a,unix://{tmp_path}/b"})
    assert said == (1, "", f"Error: no agent answers at unix://{tmp_path}/a or unix://{tmp_path}/b\n{START}")


def test_a_bad_endpoint_is_told_before_anything_is_asked() -> None:
    said = invoke("--endpoint", "nonsense://x", "list-units")
    assert said == (2, "", "Error: 'nonsense://x' is not an endpoint\n  write unix:///path/argosy.sock or http://127.0.0.1:8700\n")


def test_the_option_goes_before_the_variable(tmp_path: Path) -> None:
    said = invoke("--endpoint", f"{tmp_path}/given", "list-units", env={"ARGOSY_ENDPOINT": f"unix://{tmp_path}/variable"})
    assert said.err == f"Error: no agent answers at unix://{tmp_path}/given\n{START}"


def test_a_lab_that_is_not_there_is_named() -> None:
    said = invoke("list-units", env={"ARGOSY_LAB": "nothere"})
    assert said == (1, "", "Error: there is no lab 'nothere' on this host\n  argosy lab up --name nothere\n")


class Forbidden(wire.Endpoint):
    def connect(self, timeout: float | None) -> Any:
        raise PermissionError(13, os.strerror(13))


def test_a_socket_that_is_not_for_you_says_so(tmp_path: Path) -> None:
    client = Client([])
    client._groups = [[Forbidden("unix:///run/argosy/argosy.sock", path="/run/argosy/argosy.sock")]]
    with pytest.raises(
        Unreachable, match=r"you may not use unix:///run/argosy/argosy.sock \(ask as root or as a member of its group; or start one"
    ):
        client.get(dict[str, str], "/x")
