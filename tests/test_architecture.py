"""The house rules, executed: floors, purity, sizes, no late imports, no cycles, one home for every key."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

from argosy.web.server import Listener

SOURCE = Path(__file__).parent.parent / "src" / "argosy"

FLOORS = {
    "errors": 0, "files": 0, "locks": 0, "proc": 0, "notify": 0, "programs": 0, "signals": 0, "launches": 0,
    "unit": 1, "store": 1, "docker": 1, "reconcile": 1, "folders": 1, "trust": 1,
    "terminal": 1, "logs": 1, "sockdiag": 1, "verdict": 1, "requirements": 1, "services": 1,
    "model": 2, "config": 2,
    "state": 3, "placement": 3, "compose": 3, "web": 3, "install": 3,
    "engine": 4, "agent": 4, "catalog": 4, "router": 4, "network": 4, "volumes": 4, "swarm": 4, "images": 4, "api": 4,
    "daemon": 5, "cli": 5, "lab": 5,
}  # fmt: skip
SIDEWAYS = {
    ("store", "reconcile"), ("docker", "reconcile"),
    ("unit", "requirements"), ("services", "reconcile"), ("logs", "terminal"),
    ("cli", "lab"), ("cli", "daemon"), ("lab", "daemon"), ("placement", "state"),
}  # fmt: skip
"""The few arrows within one floor, and why: the tools that whole floors stand on (errors, the loop), and the verbs that call the house."""

IMPURE = {"asyncio", "socket", "subprocess", "sqlite3", "time", "random", "os", "logging"}
IMPURE_OWN = {"files", "locks", "proc", "notify", "programs", "signals"}
PURE_ROOMS = {"unit", "placement", "compose"}
PURE_FILES = {"plan", "render", "naming", "merge", "translate", "model", "verdict", "launches", "requirements"}
MAX_FILE = 600
MAX_FUNCTION = 60
DRIVERS = {"store.sqlite", "store.etcd", "agent.systemd", "agent.supervisor", "router.nginx"}
DRIVER_USERS = {"daemon", "lab", "cli"}

DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef

FILES = sorted(path for path in SOURCE.rglob("*.py"))


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def name(path: Path) -> str:
    """The module's dotted name without `argosy.`; "" for the package itself."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name(path): path for path in FILES}


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            module = node.module or ""
            found.update(f"{module}.{alias.name}" for alias in node.names)
    return found


def own_imports(path: Path) -> set[str]:
    found = set()
    for imported in imports(path):
        if imported.startswith("argosy.") and not imported.startswith("argosy.__"):
            dotted = imported.removeprefix("argosy.")
            while dotted and dotted not in MODULES:
                dotted = dotted.rpartition(".")[0]
            if dotted:
                found.add(dotted)
    return found


def room(dotted: str) -> str:
    return dotted.partition(".")[0]


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_go_downwards_and_never_sideways(path: Path) -> None:
    here = room(name(path))
    if not here or here == "__main__":
        return
    assert here in FLOORS, f"{here} is no room of the house: see docs/architecture.md"
    for imported in own_imports(path):
        there = room(imported)
        if there == here:
            continue
        allowed = FLOORS[there] < FLOORS[here] or (here, there) in SIDEWAYS
        assert allowed, f"{name(path)} (floor {FLOORS[here]}) imports {imported} (floor {FLOORS[there]})"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_what_decides_touches_nothing(path: Path) -> None:
    dotted = name(path)
    if room(dotted) in PURE_ROOMS or dotted.rpartition(".")[2] in PURE_FILES:
        impure = {imported for imported in imports(path) if imported.partition(".")[0] in IMPURE} | (own_imports(path) & IMPURE_OWN)
        assert not impure, f"{dotted} is pure and imports {sorted(impure)}"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_files_and_functions_stay_small(path: Path) -> None:
    lines = path.read_text().count("\n")
    assert lines <= MAX_FILE, f"{name(path)} has {lines} lines"
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= MAX_FUNCTION, f"{name(path)}.{node.name} has {length} lines"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_nothing_is_imported_inside_a_function(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            late = [inner for inner in ast.walk(node) if isinstance(inner, ast.Import | ast.ImportFrom)]
            assert not late, f"{name(path)}.{node.name} imports inside"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_drivers_are_imported_only_where_the_house_is_put_together(path: Path) -> None:
    here = name(path)
    for imported in own_imports(path):
        if imported in DRIVERS and room(imported) != room(here):
            assert room(here) in DRIVER_USERS, f"{here} imports the driver {imported}"


PRINTS = {
    "click.echo", "click.secho", "click.style", "click.echo_via_pager", "click.confirm", "click.progressbar", "sys.stdout", "sys.stderr",
    "sys.__stdout__", "sys.__stderr__", "logging.basicConfig", "logging.StreamHandler", "traceback.print_exc", "traceback.print_exception",
}  # fmt: skip
PRINTING = {"terminal", "logs"}
"""The two homes of all output: text for people, and logs."""
OWN_OUTPUT = re.compile(r"agent\.supervise\.|docker\.fake_programs$")
"""Processes whose output is a file or a pipe of Argosy's."""


@pytest.mark.parametrize("path", FILES, ids=name)
def test_output_goes_through_the_one_place_that_escapes_it(path: Path) -> None:
    here = name(path)
    if here in PRINTING or OWN_OUTPUT.match(here):
        return
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert f"{node.value.id}.{node.attr}" not in PRINTS, f"{here} line {node.lineno} prints around argosy.terminal"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"print", "input"}, f"{here} line {node.lineno} prints around argosy.terminal"
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "click.prompt":
            assert isinstance(node.args[0], ast.Constant), f"{here} line {node.lineno} asks with a text that is not its own"
        if isinstance(node, ast.ImportFrom) and node.module in {"sys", "click", "rich"}:
            names = {alias.name for alias in node.names}
            assert not names & {"stdout", "stderr", "echo", "secho", "style"}, f"{here} line {node.lineno} prints around argosy.terminal"
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert "\x1b" not in node.value, f"{here} line {node.lineno} writes a control sequence of its own"


OPENS = {
    "AppRunner", "ServerRunner", "SockSite", "TCPSite", "UnixSite", "NamedPipeSite", "Application", "run_app",
    "start_server", "start_unix_server", "create_server", "create_unix_server", "connect_accepted_socket", "sock_accept", "accept",
    "tcp_listener", "unix_listener", "HTTPServer", "ThreadingHTTPServer", "TCPServer", "UnixStreamServer",
}  # fmt: skip
OPENING = {"web.server", "web.listeners", "web.bridges", "web.connections", "web.tls"}
"""The one place that opens listeners of HTTP APIs: what it opens has an Admission."""
NO_HTTP = {
    "agent.supervise.server": "a protocol of its own between one user's processes: it asks for the peer's uid",
}


@pytest.mark.parametrize("path", FILES, ids=name)
def test_listeners_are_opened_in_one_place_only(path: Path) -> None:
    here = name(path)
    if here in OPENING or here in NO_HTTP:
        return
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func).rpartition(".")[2]
            assert called not in OPENS, f"{here} line {node.lineno} listens around argosy.web.server: {called}()"
    assert not imports(path) & {"http.server", "socketserver"}, f"{here} serves around argosy.web.server"


def test_no_listener_is_served_without_an_admission() -> None:
    """A Listener cannot be made without one, and its guard, which asks it, is the outermost middleware of the one application."""
    assert Listener._fields[:3] == ("name", "at", "admission")
    assert Listener._field_defaults == {}
    made = [
        (dotted, node)
        for dotted in MODULES
        for node in ast.walk(tree(MODULES[dotted]))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "web.Application"
    ]
    ((dotted, call),) = made
    (middlewares,) = [option.value for option in call.keywords if option.arg == "middlewares"]
    assert dotted == "web.server"
    assert isinstance(middlewares, ast.List)
    assert ast.unparse(middlewares.elts[0]).startswith("guard(listener.name, listener.admission,")


def test_there_are_no_cycles() -> None:
    graph = {dotted: own_imports(path) - {dotted} for dotted, path in MODULES.items()}
    done: set[str] = set()

    def visit(dotted: str, trail: tuple[str, ...]) -> None:
        assert dotted not in trail, " -> ".join((*trail, dotted))
        if dotted in done:
            return
        for target in graph[dotted]:
            visit(target, (*trail, dotted))
        done.add(dotted)

    for dotted in graph:
        visit(dotted, ())


def test_drawers_of_odds_and_ends_do_not_exist() -> None:
    for path in SOURCE.rglob("*"):
        assert path.stem not in {"utils", "util", "common", "helpers", "core", "manager", "misc"}, path


def test_keys_of_the_store_are_named_in_one_place_only() -> None:
    stored = re.compile(r"/argosy/(units|machines|orders|placements|states|services|routers|kv|sessions|leaders)\b")
    for path in FILES:
        if name(path) == "state.keys":
            continue
        documentation = {id(ast.get_docstring(node, clean=False)) for node in ast.walk(tree(path)) if isinstance(node, DOCUMENTED)}
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node.value) not in documentation:
                assert not stored.match(node.value), f"{name(path)} line {node.lineno} names the key {node.value!r} itself"


def test_every_room_has_its_page() -> None:
    docs = SOURCE.parent.parent / "docs"
    for path in sorted(SOURCE.iterdir()):
        if path.is_dir() and (path / "__init__.py").exists():
            assert (docs / f"{path.name}.md").exists(), f"docs/{path.name}.md is missing"


def test_texts_of_units_are_read_in_one_place_only() -> None:
    for path in FILES:
        if name(path) != "unit.text":
            assert "argosy.unit.parse.parse" not in imports(path), f"{name(path)} parses by itself: ask argosy.unit.text.unit_text"


JUDGES = re.compile(r"(verdict|launches)$|agent\.(systemd|systemd_unit|supervise\..*)$")
"""The one verdict, and the runtimes whose words it reads."""


@pytest.mark.parametrize("path", FILES, ids=name)
def test_what_a_unit_does_is_judged_in_one_place_only(path: Path) -> None:
    if JUDGES.match(name(path)):
        return
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Compare) and isinstance(node.left, ast.Attribute) and node.left.attr in {"active", "load"}:
            assert not any(isinstance(part, ast.Constant | ast.Tuple) for part in node.comparators), (
                f"{name(path)} line {node.lineno} judges"
            )
