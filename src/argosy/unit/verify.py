"""Everything wrong or notable in a unit file, line by line: what `argosy verify` prints.

Errors are what Argosy, fleet or systemd would refuse; warnings are what one of them would ignore, or do otherwise than the writer may
think. What only one of the runtimes ignores is said where the cluster has that runtime.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from difflib import get_close_matches

from argosy.errors import InvalidUnit
from argosy.unit.command import commands
from argosy.unit.directives import HONOURED, KNOWN
from argosy.unit.dropins import with_section
from argosy.unit.names import check_name, instance_of, is_template, prefix_of, shortened, shown
from argosy.unit.options import ARGOSY_KEYS, FLEET_KEYS, fleet_values, metadata_pair, requirements
from argosy.unit.parse import Option, Problem, UnitFile, readable
from argosy.unit.quadlet.check import container_names_noted, file_name_problems
from argosy.unit.quadlet.check import problems as quadlet_problems
from argosy.unit.quadlet.keys import KEYS
from argosy.unit.quadlet.names import KEYS_LABEL, NOT_KNOWN, foreign_kind, unit_name
from argosy.unit.service import beyond_supervisor, read_service
from argosy.unit.shell import in_arguments, in_value
from argosy.unit.specifiers import Specifiers
from argosy.unit.text import unit_text

_DEPRECATED = {
    "X-ConditionMachineID": "MachineID",
    "X-ConditionMachineBootID": "MachineID",
    "X-ConditionMachineOf": "MachineOf",
    "X-ConditionMachineMetadata": "MachineMetadata",
    "X-Conflicts": "Conflicts",
}
RUNTIMES = frozenset({"systemd", "supervisor"})
_OURS = {"xfleet": "X-Fleet", "xargosy": "X-Argosy"}
_RUNS_CONTAINER = re.compile(r"(?:^|[/\s])(?:docker|podman)\s(?:.*\s)?run\s")
_MACHINE_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}")
_BOOLEANS = frozenset({"true", "yes", "1", "on", "t", "false", "no", "0", "off", "f"})
_SECTION_OF_TYPE = {"service": "Service", "socket": "Socket", "timer": "Timer", "path": "Path", "mount": "Mount", "automount": "Automount"}
_PLACEHOLDER = "instance"
_MOST_HINTS = 200
"""Looking for what somebody may have meant is slow; a file with more oddities than this is no unit file."""


def verify(name: str, text: str | bytes, runtimes: Collection[str] = RUNTIMES) -> tuple[Problem, ...]:
    """Return all problems of a unit file, in the order of lines; none with severity "error" if it is fit to be submitted and run.

    `name` is the file's. `runtimes` are those of RUNTIMES that the unit may come to.
    """
    problems: list[Problem] = []
    file_name, name = name, unit_name(name)
    if foreign_kind(file_name):
        return (Problem(0, "error", NOT_KNOWN.format(foreign_kind(file_name))),)
    try:
        check_name(name)
    except InvalidUnit as error:
        problems.append(Problem(0, "error", str(error)))
    try:
        known = unit_text(with_section(file_name, readable(text)))
    except InvalidUnit as error:
        return (*problems, Problem(0, "error", str(error)))
    file = known.file
    problems += file.problems
    problems += file_name_problems(file_name, file)
    if known.kind:
        problems += _quadlet(name, file, runtimes)
    elif file.options:
        problems += _requirements(name, file)
        problems += _type(name, file, runtimes)
        problems += _unlabelled(file)
        problems += [*unknown(file), *(unhonoured(file) if "supervisor" in runtimes else ())]
    return tuple(sorted(dict.fromkeys(problems), key=lambda problem: problem.line))


def _quadlet(name: str, file: UnitFile, runtimes: Collection[str]) -> list[Problem]:
    """Of a Quadlet file, and of the service that it makes as far as its lines are the file's own."""
    found, made = quadlet_problems(name, file)
    found += container_names_noted(file)
    if not any(problem.severity == "error" for problem in found):
        found += _requirements(name, file)
    if made is not None:
        ours = " needs ExecStart="  # the commands are ours: what is wrong in them is told already
        kept = [problem for problem in _type(name, made, runtimes) if problem.line or problem.severity == "error"]
        kept = [problem for problem in kept if ours not in f" {problem.message}"]
        supervised = unhonoured(made) if "supervisor" in runtimes else ()
        found += [*kept, *(problem for problem in (*unknown(made), *supervised) if problem.line)]
    return found


def _unlabelled(file: UnitFile) -> list[Problem]:
    """A warning for a container that `Keys=write` does not reach: the engine runs it, not the unit's user."""
    asked = [option for option in file.options if (option.section, option.name) == ("X-Argosy", "Keys")]
    if not asked or asked[-1].joined != "write":
        return []
    lines = [option.joined for option in file.options if (option.section, option.name) == ("Service", "ExecStart")]
    if not any(_RUNS_CONTAINER.search(line) and KEYS_LABEL not in line for line in lines):
        return []
    return [Problem(asked[-1].line, "warning", f"Keys=write does not reach the container of ExecStart=; run it with --label {KEYS_LABEL}")]


def unhonoured(file: UnitFile) -> tuple[Problem, ...]:
    """Return a warning for every directive that systemd knows and the supervisor does not honour."""
    return tuple(
        Problem(option.line, "warning", f"{option.name}= in [{option.section}] is accepted by systemd, ignored by the supervisor")
        for option in file.options
        if option.name in KNOWN.get(option.section, ()) and option.name not in HONOURED.get(option.section, ())
    )


def unknown(file: UnitFile) -> list[Problem]:
    """A warning for every section and directive that nobody knows, with what may have been meant."""
    found: list[Problem] = []
    sections: set[str] = set()
    for option in file.options:
        section, name = option.section, option.name
        if section in KNOWN:
            if name not in KNOWN[section] and not name.startswith("X-"):
                hint = _hint(section, name) if len(found) < _MOST_HINTS else ""
                found.append(Problem(option.line, "warning", f"unknown directive {shortened(name)}= in [{section}]{hint}"))
        elif section not in sections:
            sections.add(section)
            if not section.startswith("X-"):
                known = [*KNOWN, *_OURS.values(), *KEYS]
                found.append(Problem(option.line, "warning", f"unknown section [{shortened(section)}]{_meant(section, known)}"))
            elif meant := _ours(section):
                found.append(Problem(option.line, "warning", f"[{shortened(section)}] is ignored; did you mean [{meant}]?"))
    return found


def _ours(section: str) -> str:
    """X-Fleet or X-Argosy where a section's name is nearly that, "" for another's section."""
    folded = "".join(character for character in section.lower() if character.isalnum())
    close = get_close_matches(folded, _OURS, n=1, cutoff=0.8)
    return _OURS[close[0]] if close and section not in _OURS.values() else ""


def _hint(section: str, name: str) -> str:
    elsewhere = [other for other in KNOWN if name in KNOWN[other]]
    if section == "Unit" and name in FLEET_KEYS:
        elsewhere.insert(0, "X-Fleet")
    if elsewhere:
        return f"; it belongs in [{elsewhere[0]}]"
    return _meant(name, KNOWN[section], "=")


def _meant(word: str, known: list[str] | frozenset[str], mark: str = "") -> str:
    folded = {candidate.lower(): candidate for candidate in sorted(known)}
    close = get_close_matches(word.lower(), folded, n=1, cutoff=0.75)
    return f"; did you mean {folded[close[0]]}{mark}?" if close else ""


def _requirements(name: str, file: UnitFile) -> list[Problem]:
    found: list[Problem] = []
    refused = False
    for option in file.options:
        known = {"X-Fleet": FLEET_KEYS, "X-Argosy": ARGOSY_KEYS}.get(option.section)
        if known is None:
            continue
        if option.name not in known:
            refused = True
            found.append(Problem(option.line, "error", _unknown_key(option, known)))
        elif option.section == "X-Fleet":
            found += [Problem(option.line, "warning", note) for note in _fleet_notes(option, file)]
    if not refused:
        try:
            requirements(name, file)
        except InvalidUnit as error:
            found.append(Problem(_blamed(file, str(error)), "error", str(error)))
    return found


def _unknown_key(option: Option, known: tuple[str, ...]) -> str:
    if option.section == "X-Argosy":
        return f"unknown key {shown(option.name)} in [X-Argosy]; it knows {', '.join(known)}"
    return f'unrecognized requirement in [X-Fleet] section: "{option.name}"{_meant(option.name, frozenset(known), "=")}'


def _blamed(file: UnitFile, message: str) -> int:
    """The line that an error of the requirements is about: the first that holds a key which the message names."""
    keys = {"Peers": "MachineOf", "peer": "MachineOf", "glob": "Conflicts"}
    words = {keys.get(word, word) for word in re.findall(r"[A-Za-z]+", message)}
    lines = [option.line for option in file.options if option.section.startswith("X-")]
    named = [
        option.line for option in file.options if option.section.startswith("X-") and _DEPRECATED.get(option.name, option.name) in words
    ]
    return (named or lines or [0])[0]


def _fleet_notes(option: Option, file: UnitFile) -> list[str]:
    key = _DEPRECATED.get(option.name, option.name)
    value = option.joined
    notes = [f"{option.name}= is deprecated; write {key}="] if option.name in _DEPRECATED else []
    if not value:
        return [*notes, f"the empty {key}= resets the values before it; fleet did not do that"]
    if key == "MachineMetadata":
        notes += [
            f"{shown(pair)} is no key=value pair and is ignored, as fleet does{_quotes(pair)}"
            for pair in fleet_values(value)
            if metadata_pair(pair) is None
        ]
        notes += [note for pair in fleet_values(value) if (found := metadata_pair(pair)) and (note := _pair_note(*found))]
    elif key == "MachineOf":
        notes += [note for peer in fleet_values(value) if (note := _peer_note(peer))]
    elif key in ("Conflicts", "Replaces") and "," in value:
        notes.append(f"{key}={shortened(value)}: a comma is in no unit's name; write several on lines of their own")
    elif key == "MachineID":
        first = next(other for other in file.options if other.section == "X-Fleet" and other.name == option.name)
        if option is not first:
            notes.append(f"only the first {key}= counts")
        if "%" not in value and not _MACHINE_ID.fullmatch(value):
            notes.append(f"{shown(value)} is no machine id: 32 lower-case hexadecimal digits, or the first 8 of them")
    elif key == "Global" and "%" not in value and value.lower() not in _BOOLEANS:
        notes.append(f"Global={shortened(value)} means no; yes is written true, yes, 1, on or t")
    return notes


def _pair_note(key: str, value: str) -> str:
    """A pair that no machine's metadata can match, or that was meant otherwise."""
    if key[-1] in "<>!~+-:":
        return f"MachineMetadata={shortened(key)}={shortened(value)} asks for a key called {shown(key)}: only key=value, equality, is known"
    if key != key.strip() or value != value.strip():
        return f"MachineMetadata={shortened(key)}={shortened(value)}: the blanks around = belong to the key and the value; leave them out"
    return ""


def _quotes(pair: str) -> str:
    return '; write several pairs as "a=b" "c=d"' if " " in pair else ""


def _peer_note(peer: str) -> str:
    if " " in peer:
        return f"MachineOf takes {shown(peer)} for one name; write several each in quotes, or on lines of their own"
    if any(character in peer for character in "*?["):
        return f"MachineOf={shortened(peer)}: names are exact here, no globs, so no unit will match"
    if "," in peer:
        return f"MachineOf={shortened(peer)}: a comma is in no unit's name; write several each in quotes, or on lines of their own"
    if "." not in peer:
        return f"MachineOf={shortened(peer)}: the name has no type; did you mean {shortened(peer)}.service?"
    return ""


def _type(name: str, file: UnitFile, runtimes: Collection[str]) -> list[Problem]:
    """What is to be said of the unit's type, and of the service if it is one."""
    kind = name.rpartition(".")[2]
    section = _SECTION_OF_TYPE.get(kind)
    found = []
    acts = kind == "service" and file.last("Unit", "SuccessAction") not in (None, "none")
    if section and not file.has_section(section) and not acts:
        return [Problem(0, "error", f"a {kind} needs a [{section}] section")]
    if kind != "service":
        if "supervisor" in runtimes:
            found.append(Problem(0, "warning", f"the supervisor runs services only; a {kind} needs machines with systemd"))
        return found
    if is_template(name):
        name = f"{prefix_of(name)}@{_PLACEHOLDER}.service"
    specifiers = Specifiers(name=name, fragment=f"/etc/systemd/system/{name}")
    found += read_service(name, file, specifiers)[1]
    if "supervisor" in runtimes:
        found += beyond_supervisor(file, specifiers)
        found += [
            Problem(option.line, "warning", "the supervisor takes Type=idle for simple")
            for option in file.options
            if (option.section, option.name, option.joined) == ("Service", "Type", "idle")
        ]
    found += _notes(name, file, specifiers)
    return found


def _notes(name: str, file: UnitFile, specifiers: Specifiers) -> list[Problem]:
    """Traps that systemd does not tell of."""
    found = []
    for option in file.options:
        value = option.joined
        if option.name.startswith("Exec") and option.section == "Service":
            try:
                notes = [note for command in commands(value, specifiers) for note in in_arguments(command.argv)]
            except InvalidUnit:
                continue
            found += [Problem(option.line, "warning", f"{option.name}=: {note}") for note in notes]
        if option.section == "Service" and option.name == "Environment":
            found += [Problem(option.line, "warning", f"Environment=: {note}") for note in in_value(value, variables=True)]
        if option.section == "Service" and option.name == "KillMode" and value == "none":
            found.append(Problem(option.line, "warning", "KillMode=none leaves processes behind; use mixed or control-group"))
        if "%i" in value and not option.section.startswith("X-") and not instance_of(name):
            found.append(Problem(option.line, "warning", f"{option.name}=: %i is empty, as {name} is no instance of a template"))
    return found
