"""What the shell may offer for a word: units and machines, as the agent names them. Says nothing where it does not answer at once.

Names that a terminal would act on are not offered; what a shell would act on is quoted by its script.
"""

from __future__ import annotations

import os

import click

from argosy.api.shapes import RolloutList, UnitView
from argosy.cli.client import Client, endpoints
from argosy.cli.cluster import machines, units
from argosy.errors import ArgosyError
from argosy.terminal import is_plain

PATIENCE = 1.0
"""Seconds for the agent to answer: somebody has pressed Tab."""

TARGETS = {"stop": ("launched",), "restart": ("launched", "loaded"), "unload": ("launched", "loaded")}
FROM_FILES = ("start", "load", "update")
TEMPLATES_TOO = ("update",)
"""Of those, the verbs to which a template says something."""
SUFFIXES = (".service", ".timer", ".socket", ".path", ".target")


def complete_units(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Units that the verb can do something with, and unit files in this folder for the verbs that take them."""
    verb = context.info_name or ""
    folder, slash, _ = incomplete.rpartition("/")
    offered = [] if slash else [unit.name for unit in _ask_units(context) if _fits(verb, unit)]
    if verb in FROM_FILES:
        offered += _files(folder + slash, templates=verb in TEMPLATES_TOO)
    taken = set(context.params.get(parameter.name or "") or ())
    return sorted({name for name in offered if name.startswith(incomplete) and is_plain(name)} - taken)


def complete_machines(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Machines by name, or by id if that is how the word begins."""
    try:
        found = machines(_client(context)).values()
    except (ArgosyError, OSError):
        return []
    names = [machine.name for machine in found if machine.name.startswith(incomplete) and machine.name]
    ids = [machine.id for machine in found if machine.id.startswith(incomplete)]
    return sorted(name for name in names or ids if is_plain(name))


def complete_rollouts(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    try:
        found = _client(context).get(RolloutList, "/rollouts").rollouts
    except (ArgosyError, OSError):
        return []
    return sorted(rollout.name for rollout in found if rollout.name.startswith(incomplete) and is_plain(rollout.name))


def _ask_units(context: click.Context) -> list[UnitView]:
    try:
        return units(_client(context))[0]
    except (ArgosyError, OSError):
        return []


def _client(context: click.Context) -> Client:
    return Client(endpoints(context.find_root().params.get("endpoint")), timeout=PATIENCE)


def _fits(verb: str, unit: UnitView) -> bool:
    if verb in TARGETS:
        return unit.target in TARGETS[verb]
    return verb in TEMPLATES_TOO or verb not in FROM_FILES or not unit.template


def _files(folder: str, *, templates: bool) -> list[str]:
    try:
        return [folder + name for name in os.listdir(folder or ".") if name.endswith(SUFFIXES) and (templates or "@." not in name)]
    except OSError:
        return []
