"""What is wrong with a Quadlet file, and what Docker and Podman do not honour of it, line by line.

An error is what no engine could run: such a file is not taken. What one engine cannot do is a warning, since the file may be meant for
machines with the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import pairwise

from argosy.errors import InvalidUnit
from argosy.unit.names import shortened, shown
from argosy.unit.parse import MAY_BE_EMPTY, Option, Problem, UnitFile
from argosy.unit.quadlet.container import Finding
from argosy.unit.quadlet.engine import DOCKER, NAMES, PODMAN, Engine
from argosy.unit.quadlet.keys import KEYS, QUADLET, SUFFIXES, Read
from argosy.unit.quadlet.names import unit_name
from argosy.unit.quadlet.reading import kind_of, line_of, split, value_of
from argosy.unit.quadlet.service import Translated, service_of
from argosy.unit.shell import in_arguments, in_value

ENGINES = (DOCKER, PODMAN)


def file_name_problems(name: str, file: UnitFile) -> list[Problem]:
    """Where a file's name and its sections do not agree."""
    wanted = SUFFIXES.get(name.rpartition(".")[2])
    kind = kind_of(file)
    if wanted and kind != wanted and (kind or wanted not in MAY_BE_EMPTY):
        return [Problem(0, "error", f"a .{wanted.lower()} file needs a [{wanted}] section")]
    return []


def problems(name: str, file: UnitFile) -> tuple[list[Problem], UnitFile | None]:
    """All that is to be said of the Quadlet sections; and the service that it makes, with the file's own lines, where one can be made (for
    Podman under systemd where that can run it, else for Docker). `name` is the unit's."""
    kind = kind_of(file)
    found = [*_unknown_keys(kind, file), *_stray_words(kind, file), *_shell_syntax(kind, file)]
    made: dict[str, Translated] = {}
    failures: dict[str, str] = {}
    for engine in ENGINES:
        try:
            made[engine.kind] = service_of(name, file, engine, _any_name, lambda path: True)
        except InvalidUnit as error:
            failures[engine.kind] = str(error)
    said: dict[tuple[int, str], list[str]] = {}
    for message in failures.values():
        said.setdefault((_blamed(kind, file, message), message), [])
    found += [Problem(line, "error", message) for line, message in said]
    if failures:
        return found, None
    refusing = [engine for engine in ENGINES if any(finding.fatal for finding in made[engine.kind].findings)]
    hopeless = len(refusing) == len(ENGINES)
    for finding, engines in _by_finding(made):
        found.append(_told(kind, file, finding, engines, hopeless))
    chosen = made["docker" if any(finding.fatal for finding in made["podman"].findings) else "podman"]
    return found, UnitFile(file.text, chosen.options)


def check(name: str, file: UnitFile) -> None:
    """Raises InvalidUnit, with lines, for a Quadlet file that no engine could run."""
    errors = [problem for problem in problems(name, file)[0] if problem.severity == "error"]
    if errors:
        raise InvalidUnit(f"{name}: " + "; ".join(map(str, errors[:10])))


def _any_name(reference: str) -> str:
    prefix, at, instance = reference.rpartition(".")[0].partition("@")
    return f"systemd-{prefix}-{instance or '%i'}" if at else f"systemd-{prefix}"


def _by_finding(made: dict[str, Translated]) -> list[tuple[Finding, list[Engine]]]:
    found: dict[Finding, list[Engine]] = {}
    for engine in ENGINES:
        for finding in dict.fromkeys(made[engine.kind].findings):
            found.setdefault(finding, []).append(engine)
    return list(found.items())


def _told(kind: str, file: UnitFile, finding: Finding, engines: list[Engine], hopeless: bool) -> Problem:
    who = " and ".join(NAMES[engine.kind] for engine in engines)
    line = line_of(file, kind, finding.key)
    if finding.fatal:
        rest = "" if len(engines) == len(ENGINES) else f" (a machine with {who} will not run this)"
        return Problem(line, "error" if hopeless else "warning", f"{finding.key}= is refused on {who}: {finding.why}{rest}")
    return Problem(line, "warning", f"{finding.key}= is not honoured on {who}: {finding.why}")


def _unknown_keys(kind: str, file: UnitFile) -> list[Problem]:
    found = []
    for option in file.options:
        known = KEYS[kind] if option.section == kind else QUADLET if option.section == "Quadlet" else None
        if known is not None and option.name not in known:
            found.append(
                Problem(option.line, "error", f"unknown key {shortened(option.name)}= in [{option.section}]{_meant(option, known)}")
            )
    return found


def _stray_words(kind: str, file: UnitFile) -> list[Problem]:
    """Words without a `=` after a pair on a line of pairs: mostly the rest of a value with blanks that lacks its quotes."""
    found = []
    for option in file.options:
        key = KEYS[kind].get(option.name) if option.section == kind else None
        if key is None or key.read is not Read.PAIRS:
            continue
        try:
            words = split(option.name, value_of(option))
        except InvalidUnit:
            continue  # an error of its own
        for before, word in pairwise(words):
            if "=" in before and "=" not in word:
                hint = f'quote the whole pair: "{shortened(before)} {shortened(word)}"'
                found.append(Problem(option.line, "warning", f"{option.name}=: {shown(word)} is a word of its own; {hint}"))
    return found


def _shell_syntax(kind: str, file: UnitFile) -> list[Problem]:
    """Shell syntax in values that Quadlet hands to the engine as they are."""
    found = []
    for option in file.options:
        if option.section != kind:
            continue
        if option.name in ("Exec", "ReloadCmd"):
            try:
                notes = list(in_arguments(["exec", *split(option.name, value_of(option))]))
            except InvalidUnit:
                continue  # an error of its own
        elif option.name == "Environment":
            notes = list(in_value(option.joined, variables=False))
        else:
            continue
        found += [Problem(option.line, "warning", f"{option.name}=: {note}") for note in notes]
    return found


def _meant(option: Option, known: Iterable[str]) -> str:
    elsewhere = [section for section, keys in KEYS.items() if option.name in keys]
    if elsewhere:
        return f"; it belongs in [{elsewhere[0]}]"
    folded = {name.lower(): name for name in known}
    close = get_close_matches(option.name.lower(), folded, n=1, cutoff=0.75)
    return f"; did you mean {folded[close[0]]}=?" if close else ""


def _blamed(kind: str, file: UnitFile, message: str) -> int:
    """The line that an error is about: the last one of the first key that it names."""
    for word in message.replace("=", "= ").split():
        if word.endswith("="):
            key = word[:-1].rpartition(" ")[2]
            value = message.partition(f"{key}=")[2]
            candidates = [option for option in file.options if option.name == key]
            exact = [option.line for option in candidates if value.startswith((shown(option.joined), option.joined))]
            if exact or candidates:
                return (exact or [candidates[-1].line])[-1]
    return next((option.line for option in file.options if option.section == kind), 0)


def container_names_noted(file: UnitFile) -> list[Problem]:
    """Names of Quadlet files where [X-Fleet] wants names of units."""
    return [
        Problem(
            option.line, "warning", f"{option.name}={shortened(option.joined)}: the unit of this file is called {unit_name(option.joined)}"
        )
        for option in file.options
        if option.section == "X-Fleet"
        and option.name in ("MachineOf", "Conflicts", "Replaces")
        and unit_name(option.joined) != option.joined
    ]
