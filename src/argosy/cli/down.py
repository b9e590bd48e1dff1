"""argosy down: stop what `argosy up` started, units and all."""

from __future__ import annotations

import asyncio
import os
import select
import signal
from pathlib import Path

import click

from argosy import daemon, locks
from argosy.cli.progress import Progress
from argosy.cli.up import PIDFILE, SETTINGS
from argosy.config import Config, load
from argosy.errors import ArgosyError, Refused
from argosy.terminal import echo

PATIENCE = 20.0
"""Seconds for the agent to end by itself."""

LOCK = "agent.lock"
MOST_NAMES = 8


@click.command()
@click.option("--config", "path", type=click.Path(), help="The TOML file that argosy up was given.")
def down(path: str | None) -> None:
    """Stop the agent that argosy up started on this machine, and with it all its units and its nginx. What the cluster was told is kept:
    argosy up starts the units again.

    Example: argosy down
    """
    config = load(path)
    settings = config.state_dir / SETTINGS
    if settings.exists():
        config = load(str(settings), environ={})
    stopped = _stop_agent(config)
    units = sorted(asyncio.run(daemon.clear(config)))
    echo("The agent is stopped." if stopped else "No agent of yours was running here.")
    if units:
        named = ", ".join(units[:MOST_NAMES]) + (f" and {len(units) - MOST_NAMES} more" if len(units) > MOST_NAMES else "")
        count, they = (f"{len(units)} units", "They start") if len(units) > 1 else ("1 unit", "It starts")
        echo(f"Stopped {count}: {named}. {they} again with argosy up.")


def _stop_agent(config: Config) -> bool:
    """SIGTERM, then SIGKILL if it does not end. False if there was none. Raises Refused for an agent that somebody else started."""
    pidfile = config.run_dir / PIDFILE
    holder = locks.holder(config.run_dir / LOCK)
    if holder is None:
        pidfile.unlink(missing_ok=True)
        return False
    if holder != _number(pidfile):
        raise Refused(
            f"the agent that runs here (process {holder}) was not started by argosy up",
            remedy="stop it where it was started: systemctl stop argosy",
        )
    _end(holder)
    pidfile.unlink(missing_ok=True)
    return True


def _end(pid: int) -> None:
    """Raises ArgosyError if the process had to be killed."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(process, signal.SIGTERM)
        with Progress() as progress:
            while not select.select([process], [], [], 0.5)[0]:
                if progress.waited > PATIENCE:
                    signal.pidfd_send_signal(process, signal.SIGKILL)
                    said = f"the agent (process {pid}) did not end within {PATIENCE:.0f} s and was killed"
                    raise ArgosyError(said, remedy="argosy down again, for its units")
                progress.say("waiting for the agent to end")
    finally:
        os.close(process)


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0
