"""argosy registry: an image registry of its own, in the foreground, and tokens for it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import click

from argosy.config import ImagesSection, TlsSection, load
from argosy.errors import InvalidInput
from argosy.images.access import parse_scopes
from argosy.images.service import SERVICE, Serving, collecting, serving
from argosy.images.tokens import Tokens, load_key
from argosy.logs import log_to_stderr
from argosy.reconcile import SystemClock
from argosy.signals import first_signal
from argosy.terminal import echo

DAY = 24.0


@click.group(invoke_without_command=True)
@click.option("--listen", metavar="HOST:PORT", multiple=True, help="Where to listen; may be repeated.  [default: 127.0.0.1:5000]")
@click.option("--storage", metavar="URL", help="file:///FOLDER, az://CONTAINER, s3://BUCKET, gs://, memory://.")
@click.option("--htpasswd", type=click.Path(), default="", help="Users, with bcrypt hashes (htpasswd -B).")
@click.option("--rules", type=click.Path(), default="", help="What each user may do; all may do everything without.")
@click.option("--challenge", type=click.Choice(["basic", "bearer"]), help="What clients are asked for.")
@click.option("--realm", metavar="URL", default="", help="The token endpoint as clients reach it, behind a proxy.")
@click.option("--token-key", type=click.Path(), default="", help="An Ed25519 key in PEM, for registries that share tokens.")
@click.option("--cert", type=click.Path(), default="", help="A certificate in PEM: serve TLS.")
@click.option("--key", type=click.Path(), default="", help="Its key.")
@click.option("--read-only", is_flag=True, help="Take nothing.")
@click.option("--mirror", metavar="URL", default="", help="Fetch what is not here from that registry, and keep it.")
@click.option("--mirror-credentials", metavar="FILE", default="", help="A file with USER:PASSWORD for it.")
@click.option("--allow-anyone", is_flag=True, help="Beyond loopback: without users.")
@click.option("--allow-plain", is_flag=True, help="Beyond loopback: without TLS.")
@click.option("--group", metavar="NAME", help="Without users: whose members may push, beside you and root.  [default: argosy]")
@click.option("--trusted", metavar="NETWORK", multiple=True, help="Proxies in front whose X-Forwarded-* are believed; others are refused.")
@click.option("--host", "hosts", metavar="NAME", multiple=True, help="A name by which clients reach it, where there are no users.")
@click.option("--collect", type=float, default=DAY, show_default=True, help="Hours between garbage collections; 0: never.")
@click.option("--keep-untagged", is_flag=True, default=None, help="Keep manifests without a tag for ever.")
@click.option(
    "--log-level", default="info", show_default=True, type=click.Choice(["debug", "info", "warning", "error"]), help="How much is logged."
)
@click.pass_context
def registry(context: click.Context, /, **options: object) -> None:
    """Serve images to docker, podman and every other OCI client, in the foreground, until SIGTERM or Ctrl-C. Any number of registries may
    serve one storage at the same time. Credentials of clouds come from the environment; see docs/images.md.

    Example: argosy registry --storage file:///srv/images
    """
    if context.invoked_subcommand is not None:
        return
    level = str(options.pop("log_level"))
    log_to_stderr(level)
    section = _section(options)
    asyncio.run(_serve(section))


def _section(options: dict[str, object]) -> ImagesSection:
    """The options as [images] would say them."""
    flags = {f"images.{name}": value for name, value in options.items() if value not in ("", None, ())}
    return load(None, flags=flags).images


async def _serve(section: ImagesSection) -> None:
    stopping = first_signal()
    clock = SystemClock()
    async with serving(section, TlsSection(), clock) as made, asyncio.TaskGroup() as group:
        _say(made)
        collector = group.create_task(collecting(made.storage, section, clock))
        await stopping
        echo("Stopping: what is being pushed or pulled has a few seconds.", err=True)
        collector.cancel()


def _say(made: Serving) -> None:
    first, *others = made.said
    echo(f"{first[0].upper()}{first[1:]}.")
    for line in others:
        echo(f"  {line}")


@registry.command("token", short_help="Issue a token.")
@click.argument("scopes", metavar="SCOPE...", nargs=-1, required=True)
@click.option("--token-key", "key", type=click.Path(path_type=Path), required=True, help="The registry's Ed25519 key in PEM.")
@click.option("--user", default="token", show_default=True, help="Whom it names in the registry's log.")
@click.option("--hours", type=click.FloatRange(min=0.01), default=1.0, show_default=True, help="How long it is good.")
def token(scopes: tuple[str, ...], key: Path, user: str, hours: float) -> None:
    """Print a token that allows SCOPE..., such as repository:apps/web:pull,push, at registries with that key: for jobs that shall need no
    password.

    Example: argosy registry token repository:apps/web:pull --token-key registry.pem
    """
    wanted = parse_scopes(scopes)
    if not wanted:
        raise InvalidInput(f"{' '.join(scopes)!r} is no scope", remedy="such as repository:apps/web:pull,push")
    echo(Tokens(load_key(key), SERVICE).issue(user, wanted, time.time(), hours * 3600.0))
