"""The templates: ours, and the operator's over them."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from argosy.errors import InvalidInput
from argosy.router.entry.render import HAPROXY_TEMPLATE, NGINX_TEMPLATE
from argosy.router.render import OURS, TEMPLATE


def read_sources(folder: Path | None = None) -> dict[str, str]:
    """Templates by name: our own, also under argosy/, and in their place every *.j2 of the operator's folder. Blocks; raises
    InvalidInput."""
    package = files("argosy.router").joinpath("templates")
    ours = {name: package.joinpath(name).read_text(encoding="utf-8") for name in (TEMPLATE, NGINX_TEMPLATE, HAPROXY_TEMPLATE)}
    sources = {**ours, **{OURS + name: text for name, text in ours.items()}}
    if folder is None:
        return sources
    try:
        theirs = {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.j2"))}
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"templates in {folder} cannot be read: {error}", remedy=f"put {TEMPLATE} there, readable, in UTF-8") from error
    if TEMPLATE not in theirs:
        raise InvalidInput(
            f"{folder} holds no {TEMPLATE}", remedy=f'begin it with {{% extends "{OURS}{TEMPLATE}" %}} to change parts of ours'
        )
    return {**sources, **theirs}
