"""argosy up: an agent on this machine, in the background, with no ceremony."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import click

from argosy.api.shapes import MachineView, Version
from argosy.cli import ports
from argosy.cli.client import Client
from argosy.cli.cluster import machines
from argosy.cli.progress import Progress
from argosy.config import Config, load, parse_metadata
from argosy.errors import ArgosyError, InvalidInput, Unsuitable
from argosy.folders import default_dirs, make_own
from argosy.install import config_file, program
from argosy.router.process import enabled
from argosy.terminal import echo

PATIENCE = 30.0
"""Seconds for the agent to answer."""

SETTINGS = "up.toml"
LOG = "agent.log"
PIDFILE = "agent.pid"

RUNTIMES = {
    "systemd": "systemd, this machine's own",
    "systemd-user": "systemd, your user's own manager",
    "supervisor": "Argosy's own supervisor",
}


@click.command()
@click.option(
    "--config", "path", type=click.Path(), help="A TOML file (docs/configuration.md); without one everything has a sensible place."
)
@click.option("--name", help="What people call this machine.  [default: its host name]")
@click.option("--metadata", metavar="K=V,...", help="What units may ask for.")
@click.option("--runtime", metavar="KIND", help="auto, systemd, systemd-user or supervisor.  [default: auto]")
@click.option("--api", metavar="ADDRESS", help="Where plain HTTP listens; none for nowhere.  [default: 127.0.0.1:8700]")
@click.option("--keys", metavar="ADDRESS", help="Where etcd's v2 keys listen; none for nowhere.  [default: 127.0.0.1:4001]")
@click.option(
    "--router",
    metavar="ADDRESS",
    help="Where web traffic comes in; none for no router.  [default: 0.0.0.0:80; 127.0.0.1:8080 without root]",
)
def up(
    path: str | None, name: str | None, metadata: str | None, runtime: str | None, api: str | None, keys: str | None, router: str | None
) -> None:
    """Start an agent on this machine, in the background. No root needed: units then run under your own systemd, or Argosy's supervisor.
    Units that ran when argosy down stopped it start again.

    Example: argosy up --router 127.0.0.1:8081
    """
    config = load(path, flags=_flags(path, name, metadata, runtime, {"api": api, "keys": keys, "router": router}))
    client = Client([[f"unix://{config.socket}"]])
    if (machine := _answering(client)) is not None:
        echo(f"An agent runs here already (machine {machine[:8]}...). Stop it with: argosy down{_option(path)}")
        return
    ports.check(config, router=enabled(config.router))
    log, process = _start(config)
    _tell(config, _ready(client, log, process), log, path)


def _flags(path: str | None, name: str | None, metadata: str | None, runtime: str | None, doors: dict[str, str | None]) -> dict[str, Any]:
    flags: dict[str, Any] = {"machine.name": name, "runtime.kind": runtime}
    flags["machine.metadata"] = parse_metadata(metadata, "--metadata") if metadata else None
    if path is None and os.getuid() != 0 and "ARGOSY_ROUTER_LISTEN" not in os.environ:
        flags["router.listen"] = ("127.0.0.1:8080",)
    for door, address in doors.items():
        if door == "router" and address == "none":
            flags["router.enabled"] = "no"
        elif address is not None:
            flags[f"{door}.listen"] = () if address == "none" else (address,)
    return flags


def _start(config: Config) -> tuple[Path, subprocess.Popen[bytes]]:
    """Starts the agent, detached from this terminal; returns its log and the process."""
    for folder in (config.state_dir, config.run_dir):
        try:
            make_own(folder, 0o700)
        except OSError as error:
            raise Unsuitable(f"cannot make the folder {folder}: {error.strerror}", remedy="name others: [paths] state and run") from error
    if len(os.fsencode(config.socket)) > 107:
        raise InvalidInput(f"the path of the socket is too long: {config.socket}", remedy="set [paths] run to a shorter one")
    settings, log = config.state_dir / SETTINGS, config.state_dir / LOG
    try:
        settings.write_text(config_file(config))
        with open(log, "ab") as output:
            process = subprocess.Popen(
                [program(), "agent", "--config", str(settings)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                start_new_session=True,
                env={name: value for name, value in os.environ.items() if not name.startswith("ARGOSY_")},
            )
        (config.run_dir / PIDFILE).write_text(f"{process.pid}\n")
    except OSError as error:
        raise Unsuitable(f"cannot start the agent: {error}", remedy=f"{config.state_dir} and {config.run_dir} must be yours") from error
    return log, process


def _answering(client: Client) -> str | None:
    """The id of the machine whose agent answers, if one does."""
    try:
        return client.get(Version, "/version", 5).machine
    except ArgosyError:
        return None


def _ready(client: Client, log: Path, process: subprocess.Popen[bytes]) -> MachineView:
    """Waits until the agent answers and its machine is among those alive; returns that machine."""
    begun = log.stat().st_size
    last = "it does not answer"
    with Progress() as progress:
        while progress.waited < PATIENCE and process.poll() is None:
            try:
                mine = client.get(Version, "/version", 5).machine
                found = machines(client, 5)
                if mine in found:
                    return found[mine]
                last = "its machine has not joined"
            except ArgosyError as error:
                last = error.message
            progress.say(f"waiting for the agent: {last}")
            time.sleep(0.03)
    said = "".join(f"\n{line}" for line in log.read_bytes()[begun:].decode(errors="replace").strip().splitlines()[-5:])
    if process.poll() is not None:
        raise ArgosyError(f"the agent has ended with status {process.returncode}; it said:{said or ' nothing'}", remedy=f"its log is {log}")
    raise ArgosyError(f"the agent is not ready after {PATIENCE:.0f} s: {last}{said}", remedy=f"argosy down stops it; its log is {log}")


def _tell(config: Config, machine: MachineView, log: Path, path: str | None) -> None:
    kind = machine.runtime
    why = ", because no systemd manager answers here that you may use" if kind == "supervisor" and config.runtime.kind == "auto" else ""
    store, _, where = config.store.url.partition(":")
    rows = [
        ("units run under", RUNTIMES.get(kind, kind) + why),
        ("state", f"{where} (SQLite)" if store == "sqlite" else config.store.url),
        ("API", ", ".join([f"unix://{config.socket}", *(f"http://{address}" for address in config.api.listen)])),
        ("etcd v2 keys", ", ".join(f"http://{address}" for address in config.keys.listen) or "nowhere"),
        ("web traffic", _router(config)),
        ("log", str(log)),
    ]
    echo(f"Argosy is up on this machine ({machine.id[:8]}...).")
    for what, text in rows:
        echo(f"  {what:<17}{text}")
    if str(config.socket) != f"{default_dirs(os.environ, os.getuid())[1]}/argosy.sock":
        echo(f"Tell your shell whom to ask: export ARGOSY_ENDPOINT=unix://{config.socket}")
    echo(f"Next: argosy start FILE.service; argosy list-units; argosy status UNIT. It all stops with: argosy down{_option(path)}")


def _router(config: Config) -> str:
    if enabled(config.router):
        return f"{', '.join(f'http://{address}' for address in config.router.listen)} (nginx)"
    return "no router" + ("" if config.router.enabled == "no" else ": there is no nginx on this machine")


def _option(path: str | None) -> str:
    return f" --config {path}" if path else ""
