"""argosy routes: what each machine's router serves now, and since when."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator, Mapping, Sequence

import click

from argosy.cli.client import Client
from argosy.cli.cluster import View, machines
from argosy.cli.outcome import legend
from argosy.cli.session import asks, json_option
from argosy.cli.table import show, span
from argosy.terminal import echo, echo_json


@click.command()
@click.option("--full", "-l", is_flag=True, help="A line for each router.")
@click.option("--no-legend", is_flag=True, help="Print no headings.")
@json_option
@asks
def routes(client: Client, full: bool, no_legend: bool, as_json: bool) -> None:
    """List what the routers serve now and since when: the app, the host names it answers to, its instances and their addresses, and which
    machines' routers have them. Keys that they refuse are named with the reason, and so are instances that are left out because connections
    to them fail, and certificates that are not good.

    Example: argosy routes
    """
    answer = client.ask("GET", "/routes")
    routers = answer["routers"]
    if any(router.get("standalone") for router in routers):
        routers = importlib.import_module("argosy.cli.standalone_routes").listed(routers, answer.get("announced", {}))
    if as_json:
        echo_json(routers)
        return
    known = machines(client)
    rows = list(_each(routers, known, time.time()) if full else _together(routers, known, time.time()))
    if rows:
        show(rows, None if no_legend else ("app", "host", "instance", "address", "since", "router" if full else "routers"))
    elif not routers:
        echo("No router reports to this cluster: install nginx on a machine, or see argosy router --help.", err=True)
    elif all(_is_complete(router) for router in routers):
        echo("No routes. A key /services/web/APP/INSTANCE = HOST:PORT makes one: see argosy announce --help.", err=True)
    _complaints(routers, known)


def _is_complete(router: View) -> bool:
    return not router.get("unreachable") and not router.get("omitted")


def _where(router: View, known: Mapping[str, View]) -> str:
    if router.get("standalone"):
        return f"{router['machine']}/{router['address']}" if router.get("address") else str(router["machine"])
    return legend(known.get(router["machine"]), router["machine"])


def _name(router: View, known: Mapping[str, View]) -> str:
    """A machine's short name; a standalone router is named after the machine of its address, if there is one."""
    ident: str = router["machine"]
    if router.get("standalone"):
        here = (machine.get("name", "") for machine in known.values() if machine.get("address") == router.get("address"))
        return next(here, "") or ident
    return known.get(ident, {}).get("name") or ident[:8]


def _each(routers: Sequence[View], known: Mapping[str, View], now: float) -> Iterator[list[str]]:
    for router in routers:
        where = _where(router, known)
        for upstream in router.get("upstreams", []):
            host = router.get("hosts", {}).get(upstream["app"], "")
            yield [upstream["app"], host, upstream["instance"], upstream["address"], _since(upstream.get("since", 0), now), where]


def _together(routers: Sequence[View], known: Mapping[str, View], now: float) -> Iterator[list[str]]:
    """A line for each backend: since when the last of its routers serves it, and which these are."""
    found: dict[tuple[str, str, str, str], list[tuple[float, str]]] = {}
    for router in routers:
        name = _name(router, known)
        for upstream in router.get("upstreams", []):
            key = (upstream["app"], router.get("hosts", {}).get(upstream["app"], ""), upstream["instance"], upstream["address"])
            found.setdefault(key, []).append((upstream.get("since", 0.0), name))
    for key, serving in sorted(found.items()):
        names = "all" if len(serving) == len(routers) > 1 else ",".join(sorted(name for _, name in serving))
        yield [*key, _since(max(since for since, _ in serving), now), names]


def _since(since: float, now: float) -> str:
    return f"{span(now - since)} ago" if since else "-"


def _complaints(routers: Sequence[View], known: Mapping[str, View]) -> None:
    refused = sorted({(refusal["key"], refusal["reason"]) for router in routers for refusal in router.get("refused", [])})
    for key, reason in refused:
        echo(f"Refused {key}: {reason}", err=True)
    for router in routers:
        where = _where(router, known)
        if router.get("unreachable"):
            count = router.get("routes", 0)
            echo(f"The router of {where} serves {count} routes, but could not be asked which: {router['unreachable']}", err=True)
        if router.get("error"):
            echo(f"The router of {where} serves what it last could: {router['error']}", err=True)
        for one in router.get("excluded", []):
            echo(f"The router of {where} leaves out {one['app']}/{one['instance']} at {one['address']}: {one['reason']}", err=True)
        for complaint in router.get("complaints", []):
            echo(f"On {where} {complaint}", err=True)
        if router.get("omitted"):
            behind = "it is behind the keys, or refuses some"
            echo(f"The standalone router {where} serves {router['omitted']} routes that are not listed here: {behind}", err=True)
        elif router.get("standalone") and router.get("excluding"):
            echo(f"The standalone router {where} leaves out {router['excluding']} of its instances: its log says which", err=True)
