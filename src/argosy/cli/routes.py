"""argosy routes: what each machine's router serves now, and since when."""

from __future__ import annotations

import time

import click

from argosy.cli.client import Client
from argosy.cli.outcome import legend
from argosy.cli.session import asks, json_option
from argosy.cli.table import show, show_json, span
from argosy.cli.waiting import machines


@click.command()
@json_option
@asks
def routes(client: Client, as_json: bool) -> None:
    """List what each machine's router serves now and since when, and the keys that it refuses, by name."""
    routers = client.ask("GET", "/argosy/v1/routes")["routers"]
    if as_json:
        show_json(routers)
        return
    known = machines(client)
    rows = []
    for router in routers:
        where = legend(known.get(router["machine"]), router["machine"])
        for upstream in router.get("upstreams", []):
            host = router.get("hosts", {}).get(upstream["app"], "")
            since = f"{span(time.time() - upstream['since'])} ago" if upstream.get("since") else "-"
            rows.append([upstream["app"], host, upstream["instance"], upstream["address"], where, since])
    show(rows, ("app", "host", "instance", "address", "router", "since"))
    if not rows:
        click.echo("No routes. A key /services/web/<app>/<instance> = host:port makes one; see argosy announce --help.")
    refused = sorted({(refusal["key"], refusal["reason"]) for router in routers for refusal in router.get("refused", [])})
    for key, reason in refused:
        click.echo(f"Refused {key}: {reason}", err=True)
    for router in routers:
        if router.get("error"):
            click.echo(f"{legend(known.get(router['machine']), router['machine'])}: {router['error']}", err=True)
