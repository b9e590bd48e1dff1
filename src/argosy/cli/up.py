"""argosy up: an agent on this machine, in the background, with no ceremony."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click

from argosy.cli.client import Client, Unreachable
from argosy.config import Config, load, parse_metadata
from argosy.errors import ArgosyError, Unsuitable
from argosy.lab.install import config_file, program

PATIENCE = 30.0
"""Seconds for the agent to answer."""


@click.command()
@click.option("--config", "path", type=click.Path(), help="A TOML file; without one everything has a sensible place.")
@click.option("--name", help="What people call this machine.")
@click.option("--metadata", help="What units may ask for: key=value,key=value.")
@click.option("--runtime", help="auto, systemd, systemd-user or supervisor.")
def up(path: str | None, name: str | None, metadata: str | None, runtime: str | None) -> None:
    """Start an agent on this machine, in the background; no root needed. Units that ran before the last `argosy down` start again."""
    flags: dict[str, Any] = {
        "machine.name": name,
        "machine.metadata": parse_metadata(metadata, "--metadata") if metadata else None,
        "runtime.kind": runtime,
    }
    if path is None and os.getuid() != 0:
        flags["router.listen"] = ("127.0.0.1:8080",)
    config = load(path, flags=flags)
    client = Client([f"unix://{config.socket}"])
    if (health := _health(client)) is not None:
        click.echo(f"An agent runs here already (machine {health['machine'][:8]}...). Stop it with: argosy down")
        return
    log, process = _start(config)
    _await(client, log, process)
    _tell(client, config, log)


def _start(config: Config) -> tuple[Path, subprocess.Popen[bytes]]:
    """Starts the agent, detached from this terminal; returns its log and the process."""
    for folder in (config.state_dir, config.run_dir):
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise Unsuitable(f"cannot make the folder {folder}: {error.strerror}", remedy="name others: [paths] state and run") from error
    settings = config.state_dir / "up.toml"
    settings.write_text(config_file(config))
    log = config.state_dir / "agent.log"
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
    (config.run_dir / "agent.pid").write_text(f"{process.pid}\n")
    return log, process


def _health(client: Client) -> Any:
    try:
        return client.ask("GET", "/argosy/v1/version", timeout=5)
    except ArgosyError:
        return None


def _await(client: Client, log: Path, process: subprocess.Popen[bytes]) -> None:
    start = log.stat().st_size
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if client.ask("GET", "/argosy/v1/machines", timeout=5)["machines"]:
                return
        except Unreachable:
            pass
        time.sleep(0.05)
    tail = log.read_bytes()[start:].decode(errors="replace").strip().splitlines()[-5:]
    raise ArgosyError("the agent did not get ready" + "".join(f"\n  {line}" for line in tail), remedy=f"its log is {log}")


def _tell(client: Client, config: Config, log: Path) -> None:
    machine = client.ask("GET", "/argosy/v1/machines")["machines"][0]
    kinds = {
        "systemd": "systemd, this machine's own",
        "systemd-user": "systemd, your user's own manager",
        "supervisor": "the embedded supervisor (no systemd manager answers here that you may use)",
    }
    click.echo(f"Argosy is up on this machine ({machine['id'][:8]}...).")
    click.echo(f"  units run under  {kinds.get(machine.get('runtime', ''), machine.get('runtime', ''))}")
    click.echo(f"  its state is in  {config.store.url}")
    click.echo(f"  it answers on    {config.socket} and http://{config.api.listen[0] if config.api.listen else '-'}")
    click.echo(f"  its log is       {log}")
    click.echo("Next: argosy start FILE.service, argosy list-units, argosy status UNIT, argosy journal UNIT; argosy down stops it all.")
    sys.stdout.flush()
