"""argosy images: what a registry holds, and collecting its garbage."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click
import msgspec

from argosy.cli.progress import Progress
from argosy.cli.session import json_option
from argosy.cli.table import show, size, span
from argosy.config import load
from argosy.errors import InvalidInput
from argosy.images.collector import Collector, Report
from argosy.images.inventory import Inventory, parse_reference
from argosy.images.opening import open_storage
from argosy.images.summary import Image
from argosy.images.upstream import Upstream
from argosy.reconcile import SystemClock
from argosy.terminal import echo, echo_json

T = TypeVar("T")
Verb = Callable[..., Any]
DEFAULT_REGISTRY = "http://127.0.0.1:5000"
TICK_SECONDS = 0.25
PASSWORD = "ARGOSY_REGISTRY_PASSWORD"


def of_registry(function: Verb) -> Verb:
    """Which registry, and who asks."""
    function = click.option("--user", metavar="NAME", help=f"Who asks; the password is {PASSWORD}'s, or asked for.")(function)
    return click.option(
        "--registry",
        metavar="URL",
        default=DEFAULT_REGISTRY,
        envvar="ARGOSY_REGISTRY",
        show_default=True,
        help="The registry that is asked.",
    )(function)


@click.group()
def images() -> None:
    """List, show and remove images of a registry, and collect the garbage of its storage.

    Example: argosy images ls
    """


@images.command("ls", short_help="List images.")
@click.argument("repositories", metavar="[NAME]...", nargs=-1)
@click.option("--untagged", is_flag=True, help="List what has no tag and is needed by nothing: garbage collection will remove it.")
@of_registry
@json_option
def ls(repositories: tuple[str, ...], untagged: bool, registry: str, user: str | None, as_json: bool) -> None:
    """List the tags of a registry's repositories, or of those named, with digest, size and platforms. Of a mirror it lists what the mirror
    holds.

    Example: argosy images ls apps/web
    """
    chosen = [parse_reference(name).repository for name in repositories]

    async def listed(inventory: Inventory) -> list[Image]:
        return await inventory.listed(chosen or await inventory.repositories(), untagged=untagged)

    found = asked(registry, user, listed)
    if as_json:
        echo_json([_plain(msgspec.structs.replace(image, config=None)) for image in found])
        return
    if untagged:
        rows = [(*_row(image), f"{span(time.time() - image.pushed)} ago") for image in found]
        show([(name, digest, *rest) for name, _, digest, *rest in rows], ("name", "digest", "size", "platforms", "pushed"))
        return
    show([_row(image) for image in found], ("name", "tag", "digest", "size", "platforms"))


def _row(image: Image) -> tuple[str, ...]:
    return (image.repository, image.reference, _short(image.digest), size(image.size), ",".join(image.platforms))


def _short(digest: str) -> str:
    algorithm, _, digits = digest.partition(":")
    return f"{algorithm}:{digits[:12]}" if digits else digest


def _plain(image: Image) -> dict[str, Any]:
    return {name: value for name, value in msgspec.to_builtins(image).items() if value not in (None, [], {})}


@images.command("inspect", short_help="Show an image.")
@click.argument("image", metavar="NAME[:TAG]")
@of_registry
@json_option
def inspect(image: str, registry: str, user: str | None, as_json: bool) -> None:
    """Show what an image is made of: NAME:TAG, NAME@sha256:..., or NAME for the tag latest.

    Example: argosy images inspect apps/web:1
    """
    wanted = parse_reference(image)
    found = asked(registry, user, lambda inventory: inventory.image(wanted.repository, wanted.reference or "latest", config=True))
    if as_json:
        echo_json(_plain(found))
        return
    _tell(found)


def _tell(image: Image) -> None:
    config = image.config or {}
    inner = config.get("config") or {}
    rows = [
        ("image", f"{image.repository}{'@' if ':' in image.reference else ':'}{image.reference}"),
        ("digest", image.digest),
        ("type", image.media_type),
        ("size", size(image.size)),
        ("platforms", ", ".join(image.platforms)),
        ("created", str(config.get("created") or "")),
        ("entrypoint", " ".join(inner.get("Entrypoint") or [])),
        ("command", " ".join(inner.get("Cmd") or [])),
        ("user", str(inner.get("User") or "")),
        ("ports", ", ".join(inner.get("ExposedPorts") or {})),
        *((f"label {name}", str(value)) for name, value in sorted((inner.get("Labels") or {}).items())),
        *((f"annotation {name}", value) for name, value in sorted(image.annotations.items())),
        *((f"layer {number}", f"{digest}  {size(bytes_)}") for number, (digest, bytes_) in enumerate(image.layers, 1)),
        *((platform or "manifest", f"{digest}  {size(bytes_)}") for digest, platform, bytes_ in image.manifests),
    ]
    show([row for row in rows if row[1]], None)


@images.command("rm", short_help="Remove images.")
@click.argument("references", metavar="NAME:TAG...", nargs=-1, required=True)
@of_registry
def rm(references: tuple[str, ...], registry: str, user: str | None) -> None:
    """Remove tags, or by NAME@sha256:... a manifest with all its tags. Their data goes with the next garbage collections.

    Example: argosy images rm apps/web:1
    """
    wanted = [parse_reference(text) for text in references]
    for text, reference in zip(references, wanted, strict=True):
        if not reference.reference:
            raise InvalidInput(f"{text} names no tag", remedy=f"write {text}:TAG, or {text}@sha256:...")

    async def removed(inventory: Inventory) -> None:
        for text, reference in zip(references, wanted, strict=True):
            digest = await inventory.remove(reference)
            echo(f"Removed {text}" + ("." if reference.by_digest else f", which stood for {_short(digest)}."))

    asked(registry, user, removed)


def asked(registry: str, user: str | None, question: Callable[[Inventory], Awaitable[T]]) -> T:
    """The registry's answer."""
    url = registry if "://" in registry else f"https://{registry}"
    name, password = credentials(url, user)

    async def ask() -> T:
        async with Upstream(url, SystemClock(), user=name, password=password) as upstream:
            inventory = Inventory(upstream)
            with Progress() as progress:
                task = asyncio.ensure_future(question(inventory))
                while not (await asyncio.wait([task], timeout=TICK_SECONDS))[0]:
                    progress.say(f"asking {url}: {inventory.seen} images so far")
                return await task

    return asyncio.run(ask())


def credentials(url: str, user: str | None) -> tuple[str, str]:
    """Those of --user; or what docker login has kept in plain text; or nobody's."""
    if user:
        return user, os.environ.get(PASSWORD, "").rstrip("\r\n") or click.prompt("Password", hide_input=True, err=True)
    file = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    try:
        kept = json.loads(file.read_text())["auths"][urlsplit(url).netloc]["auth"]
        name, _, password = base64.b64decode(kept).decode().partition(":")
    except (OSError, ValueError, KeyError, TypeError):
        return "", ""
    return name, password


@images.command("gc", short_help="Collect garbage.")
@click.option("--storage", metavar="URL", help="The registry's storage.  [default: that of this machine's agent]")
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=24.0,
    show_default=True,
    help="Hours that a push may take, and that a manifest without a tag is kept.",
)
@click.option("--keep-untagged", is_flag=True, help="Keep manifests without a tag.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@json_option
def gc(storage: str | None, grace: float, keep_untagged: bool, dry_run: bool, as_json: bool) -> None:
    """Remove what nothing needs: manifests that no tag, index or referrer needs, and data that no manifest refers to. One collection marks
    them, and one that is at least --grace later removes them, unless a push has asked for them meanwhile. Registries go on serving. Below
    an hour, be sure that nobody pushes.

    Example: argosy images gc --storage file:///srv/images --dry-run
    """
    section = load(None).images
    report = asyncio.run(_collected(storage or section.storage, grace * 3600.0, keep_untagged or section.keep_untagged, dry_run))
    if as_json:
        echo_json(msgspec.to_builtins(report))
        return
    for line in told(report):
        echo(line)


async def _collected(url: str, grace: float, keep_untagged: bool, dry: bool) -> Report:
    storage = await open_storage(url, os.environ)
    try:
        collector = Collector(storage, SystemClock(), grace=grace, settle=min(60.0, grace), keep_untagged=keep_untagged)
        return await collector.collect(dry=dry)
    finally:
        await storage.close()


def told(report: Report) -> list[str]:
    """What happened, or would, in sentences."""
    would = "would be " if report.dry else ""
    lines = [f"{_count(report.blobs, 'blob')}, {_count(report.manifests, 'manifest')}."]
    if report.untagged:
        lines.append(f"{_count(report.untagged, 'manifest')} without a tag, which nothing needs: removed by a later collection.")
    if report.untagged_removed:
        lines.append(f"{_count(report.untagged_removed, 'manifest')} without a tag {would}removed.")
    if report.condemned:
        lines.append(
            f"{_count(report.condemned, 'blob')} ({size(report.condemned_bytes)}) {would}condemned: removed by a later collection."
        )
    if report.waiting:
        lines.append(f"{_count(report.waiting, 'blob')} condemned earlier, not yet long enough ago.")
    if report.acquitted:
        lines.append(f"{_count(report.acquitted, 'blob')} {would}acquitted: images refer to them, or a push has asked for them.")
    if report.uploads:
        lines.append(f"{_count(report.uploads, 'upload')} that nobody went on with {would}ended.")
    if report.removed or report.parts:
        lines.append(f"{_count(report.removed, 'blob')} and {_count(report.parts, 'piece')} of data {would}removed: {size(report.freed)}.")
    if len(lines) == 1:
        lines.append("There is nothing to remove.")
    return lines


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
