"""argosy entry: the load balancer in front of all machines."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import click

from argosy.cli import entering
from argosy.cli.entering import Asked
from argosy.cli.table import show
from argosy.config import parse_metadata
from argosy.errors import InvalidInput
from argosy.folders import default_dirs
from argosy.install import load_balancer_service
from argosy.logs import log_to_stderr
from argosy.router.entry.plan import LISTEN, Wanted, check_wanted, parse_tcp
from argosy.router.render import check_listen
from argosy.router.tuning import ENTRY, parse_tuning
from argosy.terminal import content, echo, echo_json


@click.command()
@click.option(
    "--listen", multiple=True, metavar="HOST:PORT", help="Where HTTP is taken; may be repeated; none for no HTTP.  [default: 0.0.0.0:80]"
)
@click.option("--tls-listen", multiple=True, metavar="HOST:PORT", help="Where TLS is taken, to be passed through to the routers.")
@click.option("--tcp", multiple=True, metavar="HOST:PORT=PORT", help="A TCP address that is passed through to that port of the machines.")
@click.option("--metadata", metavar="K=V,...", help="Only machines that have all of this.")
@click.option("--trusted", multiple=True, metavar="NETWORK", help="Proxies in front whose X-Forwarded-For, -Proto and -Host are believed.")
@click.option(
    "--settings", default="", metavar="WORDS", help='Limits and timeouts for HTTP, such as "max_body=1g read_timeout=10m" (docs/router.md).'
)
@click.option("--proxy-protocol", is_flag=True, help="Tell routers the client's address over TLS, if they take the PROXY protocol.")
@click.option("--assume-routers", is_flag=True, help="Ask machines whose router reports nothing at 80 and 443: it may be a container.")
@click.option("--check-interval", default=0.2, show_default=True, type=click.FloatRange(0.05, 60), help="Seconds between health checks.")
@click.option(
    "--agent", "agents", multiple=True, metavar="URL", help="An agent to ask: unix:///…/argosy.sock, https://HOST:8700. Repeat it."
)
@click.option("--ca", envvar="ARGOSY_TLS_CA", metavar="FILE", help="The cluster's authority, for asking agents on other hosts.")
@click.option("--cert", envvar="ARGOSY_TLS_CERT", metavar="FILE", help="This host's certificate, of that authority.")
@click.option("--key", envvar="ARGOSY_TLS_KEY", metavar="FILE", help="Its key.")
@click.option("--folder", metavar="FOLDER", help="Where nginx's files and the status are; one for each entry of a host.")
@click.option("--grace", default=10.0, show_default=True, type=click.FloatRange(0, 3600), help="Seconds that requests may take at the end.")
@click.option("--metrics", default="", metavar="HOST:PORT", help="Where Prometheus may ask.")
@click.option(
    "--print", "kind", type=click.Choice(["nginx", "haproxy"]), help="Print a configuration for the machines as they are, and exit."
)
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="With --print: keep FILE up to date instead."
)
@click.option("--reload", default="", metavar="COMMAND", help="With --output: run this after each change of FILE.")
@click.option("--print-service", is_flag=True, help="Print the systemd unit that runs this entry at boot, and exit.")
@click.option("--status", is_flag=True, help="Show what the entry that runs here does, and exit.")
@click.option("--json", "as_json", is_flag=True, help="The same in JSON, for programs.")
@click.option(
    "--log-level", default="info", show_default=True, type=click.Choice(["debug", "info", "warning", "error"]), help="How much is logged."
)
def entry(
    kind: str | None,
    output: Path | None,
    reload: str,
    print_service: bool,
    status: bool,
    as_json: bool,
    log_level: str,
    **given: object,
) -> None:
    """Balance over all machines' routers, in the foreground, until SIGTERM: HTTP, and TLS and TCP as they are. Machines are learned from
    any agent; one that is cordoned, draining, lost or does not answer gets nothing more. SIGHUP ends this program and leaves nginx
    running, for an upgrade.

    It runs on a machine of the cluster (ports must be free there) or on a host of its own, which needs a certificate: argosy ca issue.

    Example: argosy entry --tls-listen 0.0.0.0:443 --agent https://10.0.0.1:8700 --agent https://10.0.0.2:8700
    """
    asked = _asked(given)
    if status or as_json:
        _show(asked, as_json)
        return
    if print_service:
        content(load_balancer_service(entering.words_of(asked), asked.grace))
        return
    log_to_stderr(log_level, "%(levelname)s %(message)s")
    endpoint = click.get_current_context().find_root().params.get("endpoint")
    if (output or reload) and not (kind and output):
        raise InvalidInput("--output goes with --print, and --reload with --output", remedy="such as --print haproxy --output FILE")
    if kind and output:
        asyncio.run(entering.publish(asked, kind, endpoint, output.absolute(), reload))
    elif kind:
        content(asyncio.run(entering.printed(asked, kind, endpoint)))
    else:
        asyncio.run(entering.serve(asked, endpoint))


def _asked(given: dict[str, object]) -> Asked:
    """Raises InvalidInput."""

    def text(name: str) -> str:
        return str(given[name] or "")

    def texts(name: str) -> tuple[str, ...]:
        found = given[name]
        assert isinstance(found, tuple)
        return tuple(str(one) for one in found)

    listen = texts("listen") or LISTEN
    wanted = Wanted(
        () if listen == ("none",) else listen,
        texts("tls_listen"),
        tuple(parse_tcp(one) for one in texts("tcp")),
        parse_metadata(text("metadata"), "--metadata") if given["metadata"] else {},
        bool(given["proxy_protocol"]),
        texts("trusted"),
        bool(given["assume_routers"]),
        parse_tuning(text("settings"), ENTRY),
    )
    files = (text("ca"), text("cert"), text("key"))
    if any(files) and not all(files):
        raise InvalidInput("of --ca, --cert and --key some are missing", remedy="give all three: argosy ca issue makes them")
    if given["metrics"]:
        check_listen(text("metrics"))
    return Asked(
        check_wanted(wanted),
        texts("agents"),
        files if all(files) else None,
        text("folder") or f"{default_dirs(os.environ, os.getuid())[1]}/entry",
        float(text("check_interval")),
        float(text("grace")),
        text("metrics"),
    )


def _show(asked: Asked, as_json: bool) -> None:
    found = entering.status(Path(asked.folder))
    if as_json:
        echo_json(found)
        return
    serves = found.get("serves", {})
    rows = [
        (
            seen.get("pool", "http"),
            seen["name"],
            seen["address"],
            "answers" if seen["up"] else f"out: {seen.get('reason', '')}",
            seen.get("spare") or "ready",
            "yes" if seen["name"] in serves.get(seen.get("pool", "http"), ()) else "no",
        )
        for seen in found.get("routers", [])
    ]
    rows += [(left["pool"], left["name"], "-", "-", left["reason"], "no") for left in found.get("left", [])]
    show(rows, ("pool", "machine", "address", "health", "place", "used"))
    if not found["running"]:
        echo("The entry does not run now; this is what it did last.", err=True)
    if found.get("error"):
        echo(f"It serves what it last could: {found['error']}", err=True)
