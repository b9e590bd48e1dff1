"""argosy ca: the cluster's authority and each machine's certificate."""

from __future__ import annotations

import time
from pathlib import Path

import click

from argosy import files
from argosy.errors import InvalidInput
from argosy.terminal import echo
from argosy.trust.authority import MACHINE_DAYS, WEB_DAYS, Pair, create_authority, issue, issue_web


@click.group()
def ca() -> None:
    """Make the cluster's authority, and a certificate for each machine. With them machines speak mutual TLS to each other and to etcd.

    Example: argosy ca init; argosy ca issue $(cat /etc/machine-id) --address 192.0.2.11
    """


@ca.command("init", short_help="Make an authority.")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default="ca")
@click.option("--cluster", default="argosy", show_default=True, help="The cluster's name, for people.")
def init(folder: Path, cluster: str) -> None:
    """Make an authority in FOLDER: ca.pem goes to every machine, ca.key stays with you.

    Example: argosy ca init ca --cluster berlin
    """
    if (folder / "ca.key").exists():
        raise InvalidInput(f"{folder / 'ca.key'} exists", remedy="an authority is made once; name another folder for another cluster")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write(folder, "ca", create_authority(cluster, time.time()), cert="ca.pem")
    echo(f"Made the authority of {cluster}: {folder / 'ca.pem'} for every machine, {folder / 'ca.key'} to keep.")
    echo(f"Next: argosy ca issue MACHINE --folder {folder} --address ADDRESS")


@ca.command("issue", short_help="Make a machine's certificate.")
@click.argument("machine")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    default="ca",
    show_default=True,
    help="Where the authority is.",
)
@click.option("--address", "addresses", multiple=True, help="An address that the machine is reached at; may be repeated.")
@click.option("--dns", "names", multiple=True, help="A further DNS name; may be repeated.")
@click.option("--days", type=click.IntRange(1, 36500), default=MACHINE_DAYS, show_default=True, help="How long it is valid.")
def issue_(machine: str, folder: Path, addresses: tuple[str, ...], names: tuple[str, ...], days: int) -> None:
    """Make the certificate of MACHINE, which is its id (what its /etc/machine-id says): MACHINE.pem and MACHINE.key in the authority's
    folder.

    Example: argosy ca issue $(cat /etc/machine-id) --address 192.0.2.11
    """
    _write(folder, machine, issue(_authority(folder), machine, time.time(), names=names, addresses=addresses, days=days))
    echo(f"Made {folder / machine}.pem and {folder / machine}.key; with ca.pem they belong in that machine's [tls] section.")


@ca.command("issue-web", short_help="Make a certificate for web traffic.")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    default="ca",
    show_default=True,
    help="Where the authority is.",
)
@click.option("--into", type=click.Path(file_okay=False, path_type=Path), help="Where to write it.  [default: the authority's folder]")
@click.option("--days", type=click.IntRange(1, 36500), default=WEB_DAYS, show_default=True, help="How long it is valid.")
def issue_web_(names: tuple[str, ...], folder: Path, into: Path | None, days: int) -> None:
    """Make a certificate for web traffic to each NAME: a host name, a wildcard such as '*.example.org', or an IP address. Its .crt and .key
    belong in the routers' folder of certificates. Browsers trust it once they trust ca.pem.

    Example: argosy ca issue-web '*.example.org' example.org --into /etc/argosy/certificates
    """
    into = into or folder
    pair = issue_web(_authority(folder), names, time.time(), days=days)
    into.mkdir(parents=True, exist_ok=True, mode=0o700)
    name = names[0].lower().replace("*", "wildcard").replace(":", "-")
    _write(into, name, pair, cert=f"{name}.crt")
    echo(f"Made {into / name}.crt and {into / name}.key for {', '.join(names)}.")
    echo(f"They belong in the folder that the routers' [router] certificates names; clients need {folder / 'ca.pem'}.")


def _authority(folder: Path) -> Pair:
    try:
        return Pair((folder / "ca.pem").read_bytes(), (folder / "ca.key").read_bytes())
    except OSError as error:
        raise InvalidInput(f"no authority in {folder}: {error.strerror}", remedy=f"argosy ca init {folder}") from error


def _write(folder: Path, name: str, pair: Pair, cert: str = "") -> None:
    for file, content, mode in ((f"{name}.key", pair.key, 0o600), (cert or f"{name}.pem", pair.cert, 0o644)):
        files.write(folder / file, content, mode=mode, durable=True)
