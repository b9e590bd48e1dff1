"""argosy agent: this machine's side of the cluster, in the foreground, until it is told to stop."""

from __future__ import annotations

import asyncio

import click

from argosy import daemon
from argosy.config import load, parse_metadata
from argosy.install import CONFIG, agent_service
from argosy.logs import log_to_stderr
from argosy.terminal import content


@click.command()
@click.option("--config", "path", type=click.Path(), envvar="ARGOSY_CONFIG", help="A TOML file; see docs/configuration.md.")
@click.option("--name", help="What people call this machine.")
@click.option("--address", help="Where others reach this machine.")
@click.option("--metadata", metavar="K=V,...", help="What units may ask for.")
@click.option("--store", metavar="URL", help="sqlite:PATH or etcd:HOST:PORT,HOST:PORT.")
@click.option("--runtime", metavar="KIND", help="auto, systemd, systemd-user or supervisor.")
@click.option(
    "--log-level", default="info", show_default=True, type=click.Choice(["debug", "info", "warning", "error"]), help="How much is logged."
)
@click.option("--print-service", is_flag=True, help="Print the systemd unit that runs this agent at boot, and exit.")
def agent(
    path: str | None,
    name: str | None,
    address: str | None,
    metadata: str | None,
    store: str | None,
    runtime: str | None,
    log_level: str,
    print_service: bool,
) -> None:
    """Run this machine's agent in the foreground, until SIGTERM or Ctrl-C; units go on running after it. It keeps what is placed here
    running, and answers, plans and routes with the others. At boot systemd runs it (--print-service); to try things, argosy up does.

    Example: argosy agent --config /etc/argosy/argosy.toml
    """
    if print_service:
        content(agent_service(path or CONFIG))
        return
    flags = {
        "machine.name": name,
        "machine.address": address,
        "machine.metadata": parse_metadata(metadata, "--metadata") if metadata else None,
        "store.url": store,
        "runtime.kind": runtime,
    }
    config = load(path, flags=flags)
    log_to_stderr(log_level)
    asyncio.run(daemon.run(config))
