"""argosy routes: what each machine's router serves now, and since when."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator, Mapping, Sequence

import click

from argosy.api.shapes import MachineView, RouteList, RouterView
from argosy.cli.client import Client
from argosy.cli.cluster import machines
from argosy.cli.outcome import legend
from argosy.cli.session import asks, json_option, show_json
from argosy.cli.table import show, span
from argosy.terminal import echo


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
    answer = client.get(RouteList, "/routes")
    routers = answer.routers
    if any(router.standalone for router in routers):
        routers = importlib.import_module("argosy.cli.standalone_routes").listed(routers, answer.announced)
    if as_json:
        show_json(routers)
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


def _is_complete(router: RouterView) -> bool:
    return not router.unreachable and not router.omitted


def _where(router: RouterView, known: Mapping[str, MachineView]) -> str:
    if router.standalone:
        return f"{router.machine}/{router.address}" if router.address else router.machine
    return legend(known.get(router.machine), router.machine)


def _name(router: RouterView, known: Mapping[str, MachineView]) -> str:
    """A machine's short name; a standalone router is named after the machine of its address, if there is one."""
    if router.standalone:
        here = (machine.name for machine in known.values() if machine.address == router.address)
        return next(here, "") or router.machine
    machine = known.get(router.machine)
    return machine.name if machine and machine.name else router.machine[:8]


def _each(routers: Sequence[RouterView], known: Mapping[str, MachineView], now: float) -> Iterator[list[str]]:
    for router in routers:
        where = _where(router, known)
        for upstream in router.upstreams:
            host = router.hosts.get(upstream.app, "")
            yield [upstream.app, host, upstream.instance, upstream.address, _since(upstream.since, now), where]


def _together(routers: Sequence[RouterView], known: Mapping[str, MachineView], now: float) -> Iterator[list[str]]:
    """A line for each backend: since when the last of its routers serves it, and which these are."""
    found: dict[tuple[str, str, str, str], list[tuple[float, str]]] = {}
    for router in routers:
        name = _name(router, known)
        for upstream in router.upstreams:
            key = (upstream.app, router.hosts.get(upstream.app, ""), upstream.instance, upstream.address)
            found.setdefault(key, []).append((upstream.since, name))
    for key, serving in sorted(found.items()):
        names = "all" if len(serving) == len(routers) > 1 else ",".join(sorted(name for _, name in serving))
        yield [*key, _since(max(since for since, _ in serving), now), names]


def _since(since: float, now: float) -> str:
    return f"{span(now - since)} ago" if since else "-"


def _complaints(routers: Sequence[RouterView], known: Mapping[str, MachineView]) -> None:
    refused = sorted({(refusal.key, refusal.reason) for router in routers for refusal in router.refused})
    for key, reason in refused:
        echo(f"Refused {key}: {reason}", err=True)
    for router in routers:
        where = _where(router, known)
        if router.unreachable:
            count = router.routes
            echo(f"The router of {where} serves {count} routes, but could not be asked which: {router.unreachable}", err=True)
        if router.error:
            echo(f"The router of {where} serves what it last could: {router.error}", err=True)
        for one in router.excluded:
            echo(f"The router of {where} leaves out {one.app}/{one.instance} at {one.address}: {one.reason}", err=True)
        for complaint in router.complaints:
            echo(f"On {where} {complaint}", err=True)
        if router.omitted:
            behind = "it is behind the keys, or refuses some"
            echo(f"The standalone router {where} serves {router.omitted} routes that are not listed here: {behind}", err=True)
        elif router.standalone and router.excluding:
            echo(f"The standalone router {where} leaves out {router.excluding} of its instances: its log says which", err=True)
