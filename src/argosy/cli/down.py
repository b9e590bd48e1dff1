"""argosy down: stop what `argosy up` started, units and all."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import click

from argosy import daemon
from argosy.config import load
from argosy.errors import ArgosyError

PATIENCE = 20.0
"""Seconds for the agent to end by itself."""


@click.command()
@click.option("--config", "path", type=click.Path(), help="The TOML file that `argosy up` was given.")
def down(path: str | None) -> None:
    """Stop the agent of this machine that `argosy up` started, its units, and everything else of it. What the cluster was told is kept."""
    config = load(path)
    settings = config.state_dir / "up.toml"
    if path is None and settings.exists():
        config = load(str(settings), environ={})
    stopped = _stop_agent(config.run_dir / "agent.pid")
    units = asyncio.run(daemon.clear(config))
    click.echo("The agent is stopped." if stopped else "No agent of yours was running here.")
    if units:
        click.echo(f"Stopped {len(units)} units: {', '.join(sorted(units))}. They start again with argosy up.")


def _stop_agent(pidfile: Path) -> bool:
    """SIGTERM, then SIGKILL if it does not end. False if there was none."""
    try:
        pid = int(pidfile.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return False
    if b"agent" not in command:
        return False
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    while Path(f"/proc/{pid}").exists() and not _zombie(pid):
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            raise ArgosyError(f"the agent (process {pid}) did not end within {PATIENCE:.0f} s and was killed", remedy="argosy down again")
        time.sleep(0.02)
    pidfile.unlink(missing_ok=True)
    return True


def _zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return True
