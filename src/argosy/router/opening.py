"""A router as its operator wants it: settings, templates and certificates from the configuration, around a given feed and proxy."""

from __future__ import annotations

import importlib
from pathlib import Path

from argosy.config import RouterSection
from argosy.reconcile import Clock
from argosy.router.base import Proxy
from argosy.router.feed import Feed
from argosy.router.loop import Router, settings_of
from argosy.router.report import Reports
from argosy.router.served import Served
from argosy.router.tls.plan import Certificates

CERTIFICATES = "tls"
"""Where checked certificates are kept, below the folder that nginx runs in."""

SERVED = "served.json"
"""The file there that keeps what is served."""


def open_router(
    section: RouterSection, folder: Path, proxy: Proxy, feed: Feed, machine_id: str, clock: Clock, reports: Reports | None = None
) -> Router:
    """`folder` is the proxy's. Raises InvalidInput for a setting that breaks a rule."""
    templates = Path(section.templates).absolute() if section.templates else None
    return Router(
        feed,
        machine_id,
        proxy,
        settings_of(section),
        clock,
        reports=reports,
        templates=templates,
        certificates=certificates_of(section, folder),
        memory=Served(folder / SERVED),
    )


def certificates_of(section: RouterSection, folder: Path) -> Certificates | None:
    """Loaded only where there are any: what reads certificates takes some 9 MB."""
    if not section.certificates:
        return None
    shelf: Certificates = importlib.import_module("argosy.router.tls.shelf").Shelf(
        Path(section.certificates).absolute(), folder / CERTIFICATES
    )
    return shelf
