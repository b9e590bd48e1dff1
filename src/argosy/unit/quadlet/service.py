"""A Quadlet file as the text of the service that a machine runs, for the engine it has.

With Podman under systemd the service is Quadlet's own: `podman run -d` tells systemd of the container, which is in the unit's control
group. With Docker, whose containers belong to its daemon, and where there are no control groups, the container is created before the start
(ExecStartPre=), the engine's client attaches to it (ExecStart=: output, signals and exit status pass through it), and the service counts
as started when the container runs (ExecStartPost=).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import msgspec

from argosy.errors import InvalidUnit
from argosy.unit.names import shown
from argosy.unit.parse import SOURCE, Option, UnitFile, serialize
from argosy.unit.quadlet.container import Finding, base_command, container_name, container_options, fatal
from argosy.unit.quadlet.engine import Engine, command_line, literal, quoted
from argosy.unit.quadlet.keys import KEYS
from argosy.unit.quadlet.names import foreign_kind, is_file_name, referred
from argosy.unit.quadlet.reading import arguments, each, kind_of, last, raw, references, resource_name, split, switch
from argosy.unit.quadlet.resources import network_options, volume_options
from argosy.unit.specifiers import expand_name
from argosy.unit.text import unit_text
from argosy.unit.values import FOREVER, signal_number, timeout

DEPENDENCIES = frozenset(
    (
        *("After", "Before", "BindsTo", "Conflicts", "OnFailure", "OnSuccess", "PartOf", "PropagatesReloadTo", "PropagatesStopTo"),
        *("ReloadPropagatedFrom", "Requires", "Requisite", "StopPropagatedFrom", "Upholds", "Wants"),
    )
)
"""Options of [Unit] in which a Quadlet file may name others."""
SIGNALS_THAT_END_WELL = ("HUP", "INT", "PIPE", "TERM")
"""A container that ends by one of them exits with 128 and its number, which is as good an end as a service's."""
STOP_MARGIN = 30
"""Seconds that systemd waits longer than the engine does."""
USUAL_STOP = 90
USUAL_CONTAINER_STOP = 10

_SHELL = "/bin/sh"
_NAMED = """
p="name=^$(printf %s "$0" | sed 's/[^A-Za-z0-9_-]/[&]/g')$"
"""
_CLEAR = f"""
{_NAMED.strip()}; n=0
; while [ $n -lt 100 ]; do n=$((n+1))
; if c=$("$@" container ls -aq --no-trunc --filter "$p" 2>/dev/null); then [ -n "$c" ] || exit 0
; "$@" kill "$c" >/dev/null 2>&1; "$@" rm -f -v "$c" >/dev/null 2>&1 && continue; fi; sleep 0.1; done
; echo "the engine does not answer, or does not remove $0: it may still run" >&2; exit 1
"""
_QUIET = """
exec "$0" "$@" >/dev/null
"""
_STOP = f"""
{_NAMED.strip()}; c=$("$@" container ls -aq --no-trunc --filter "$p" 2>/dev/null); n=0
; [ -z "$c" ] || "$@" stop "$c" >/dev/null 2>&1
; while [ -n "$MAINPID" ] && [ $n -lt 50 ] && kill -0 "$MAINPID" 2>/dev/null; do sleep 0.1; n=$((n+1)); done; :
"""
_STARTED = """
while s=$("$@" container inspect -f '{{.State.Status}}' "$0" 2>/dev/null); do
case $s in created|configured|initialized);; *) exit 0;; esac; kill -0 "$MAINPID" 2>/dev/null || exit 0; sleep 0.1; done; :
"""
_HEALTHY = """
while s=$("$@" container inspect -f '{{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{end}}' "$0" 2>/dev/null); do
case $s in 'running healthy') exit 0;; running*|created*);; *) break;; esac
; [ -z "$MAINPID" ] || kill -0 "$MAINPID" 2>/dev/null || break; sleep 0.3; done
; echo 'the container has ended before it was healthy' >&2; exit 1
"""
_HEALTHY_PODMAN = """
while s=$("$@" container inspect -f '{{.State.Status}}' "$0" 2>/dev/null); do
case $s in running) "$@" healthcheck run "$0" >/dev/null 2>&1 && exit 0;; created|configured|initialized);; *) break;; esac
; [ -z "$MAINPID" ] || kill -0 "$MAINPID" 2>/dev/null || break; sleep 0.3; done
; echo 'the container has ended before it was healthy' >&2; exit 1
"""
_ENSURE = """
k=$1 t=$2; shift 2; i=0; while [ $i -lt $k ]; do set -- "$@" "$1"; shift; i=$((i+1)); done
; [ "$(shift $(($# - k)); exec "$@" "$t" inspect -f '{{.Name}}' "$0" 2>/dev/null)" = "$0" ] && exit
; i=$(($# - k)); while [ $i -gt 0 ]; do set -- "$@" "$1"; shift; i=$((i-1)); done; exec "$@" "$0" >/dev/null
"""
_REMOVE_NETWORK = f"""
{_NAMED.strip()}; c=$("$@" network ls -q --no-trunc --filter "$p" 2>/dev/null); [ -z "$c" ] || "$@" network rm "$c" >/dev/null 2>&1 || :
"""
"""Scripts in which $0 is the container (volume, network) and "$@" the engine's program with its global arguments; _ENSURE gets before
these how many they are and what is to be made, and after them the command that makes it. What ends or removes something asks for the exact
name first, as an engine takes a name that it does not know for the beginning of an id, and the container that has it is somebody else's.
_STOP waits for the client that is attached: a signal would make it forget the exit status."""

Texts = Mapping[str, str]
"""Other units on the machine, by name: a reference such as data.volume is looked up among them."""


class Translated(msgspec.Struct, frozen=True):
    """The service, and what the engine does not honour in it. Options that the file holds keep their lines."""

    options: tuple[Option, ...]
    findings: tuple[Finding, ...]

    @property
    def text(self) -> str:
        return serialize(self.options)


def translate(name: str, text: str, engine: Engine, others: Texts, exists: Callable[[str], bool]) -> str:
    """The text that the unit `name` is to be run by: of a Quadlet file its service, of any other file the very same. `exists` says whether
    a path is on the machine. Raises InvalidUnit if this engine cannot run it."""
    given = unit_text(text)
    if not given.kind:
        return text
    file = given.file
    if file.errors:
        raise InvalidUnit(f"{name}: " + "; ".join(f"line {problem.line}: {problem.message}" for problem in file.errors))
    found = service_of(name, file, engine, lambda reference: resource(name, reference, others), exists)
    refused = list(fatal(list(found.findings), engine))
    if refused:
        raise InvalidUnit(f"{name}: " + "; ".join(refused))
    return serialize([*found.options, Option(SOURCE, "Hash", given.hash)])


def resource(name: str, reference: str, others: Texts) -> str:
    """The name on the engine of what the file `reference` makes, which `name` refers to."""
    unit = referred(reference, name)
    text = others.get(unit)
    if text is None:
        raise InvalidUnit(f"{name} needs {reference}, and no {unit} is on this machine", remedy=f"argosy start {unit}")
    found = unit_text(text)
    if not found.kind:
        raise InvalidUnit(f"{name} needs {reference}, but {unit} is no {reference.rpartition('.')[2]}")
    return expand_name(resource_name(unit, found.file), unit)


def service_of(name: str, file: UnitFile, engine: Engine, resolve: Callable[[str], str], exists: Callable[[str], bool]) -> Translated:
    """Raises InvalidUnit for what no engine can do."""
    kind = kind_of(file)
    check_sections(name, file, kind)
    if kind == "Container":
        made, findings = _container(name, file, engine, resolve, exists)
    else:
        made, findings = _resource(name, kind, file, engine)
    before = [*_waits(file, engine), *_mounts(kind, file, engine), *_needs(name, file)]
    own = [_translated(name, option) for option in file.options]
    sections: list[Option] = [Option("Unit", key, value) for key, value in before]
    sections += [option for option in own if option.section == "Unit"]
    sections += [option for option in own if option.section not in ("Unit", "Service")]
    sections += [Option("Service", key, value) for key, value in made if key in _FIRST]
    sections += [option for option in own if option.section == "Service"]
    sections += [Option("Service", key, value) for key, value in made if key not in _FIRST]
    return Translated(tuple(sections), tuple(findings))


_FIRST = ("SuccessExitStatus", "Environment", "SyslogIdentifier", "KillMode", "RemainAfterExit", "TimeoutStopSec", "ExecStartPost")
"""What the file says comes after these: it may say otherwise, or wants the container to run."""


def check_sections(name: str, file: UnitFile, kind: str) -> None:
    """Raises InvalidUnit for what stands in the file and cannot."""
    more = next((option.section for option in file.options if option.section in KEYS and option.section != kind), "")
    if more:
        raise InvalidUnit(f"[{kind}] and [{more}] in one file", remedy="write two files")
    for reference in references(file):
        if "%" in reference or "$" in reference:
            raise InvalidUnit(f"{shown(reference)}: the name of a .volume or .network file is written out")
        if "@" not in name and "@." in reference:
            key = next(option.name for option in file.options if option.section == kind and reference in option.value)
            raise InvalidUnit(
                f"{key}={shown(reference)} is a template, and {name} has no instance to make of it",
                remedy=f"name an instance, such as {reference.replace('@.', '@1.')}, or make the container a template",
            )
    for option in file.options:
        if option.section == "Unit" and option.name in DEPENDENCIES:
            unknown = next((word for word in option.joined.split() if foreign_kind(word)), "")
            if unknown:
                raise InvalidUnit(f"{option.name}={shown(unknown)}: .{foreign_kind(unknown)} files are not known here")
    service = {option.name: option for option in file.options if option.section == "Service"}
    for name in ("User", "Group", "DynamicUser"):
        if name in service:
            raise InvalidUnit(f"{name}= in [Service] would run the engine's client as that user", remedy=f"write it in [{kind}]")
    if kind == "Container" and "ExecStart" in service:
        raise InvalidUnit("ExecStart= in [Service]: the container is what is started", remedy="write Exec= in [Container]")
    mode = file.last("Service", "KillMode")
    if kind == "Container" and mode not in (None, "mixed", "control-group"):
        raise InvalidUnit(f"KillMode={mode}: a container's service takes mixed or control-group")
    kinds = ("notify", "oneshot") if kind == "Container" else ("oneshot", "exec", "simple")
    if file.last("Service", "Type") not in (None, *kinds):
        raise InvalidUnit(f"Type={file.last('Service', 'Type')}: the service of a [{kind}] is of type {' or '.join(kinds)}")


def _translated(name: str, option: Option) -> Option:
    """Sections of Quadlet's own get out of systemd's way; names of Quadlet files become names of units."""
    if option.section in KEYS or option.section == "Quadlet":
        return msgspec.structs.replace(option, section=f"X-{option.section}")
    if option.section == "Unit" and option.name in DEPENDENCIES:
        value = option.joined
        if any(is_file_name(word) for word in value.split()):
            return msgspec.structs.replace(option, value=" ".join(referred(word, name) for word in value.split()))
    return option


def _waits(file: UnitFile, engine: Engine) -> Iterator[tuple[str, str]]:
    """What systemd has to bring up first."""
    if engine.manager != "systemd":
        return
    if switch(file, "Quadlet", "DefaultDependencies") is not False:
        yield "Wants", "network-online.target"
        yield "After", "network-online.target"
    if engine.kind == "docker":
        yield "Wants", "docker.service"
        yield "After", "docker.service docker.socket"
    else:
        yield "RequiresMountsFor", "%t/containers"


def _mounts(kind: str, file: UnitFile, engine: Engine) -> Iterator[tuple[str, str]]:
    """Folders of the machine that must be mounted before."""
    if engine.manager == "supervisor":
        return
    paths = [value.partition(":")[0] for value in each(file, kind, "Volume") if ":" in value] if kind == "Container" else []
    for value in arguments(file, kind, "Mount"):
        paths += [field.partition("=")[2] for field in value.split(",") if field.startswith(("source=", "src="))]
    if kind == "Volume" and last(file, kind, "Type") == "bind":
        paths.append(last(file, kind, "Device") or "")
    for path in dict.fromkeys(paths):
        if path.startswith("/"):
            yield "RequiresMountsFor", quoted(path)


def _needs(name: str, file: UnitFile) -> Iterator[tuple[str, str]]:
    for reference in references(file):
        yield "Requires", referred(reference, name)
        yield "After", referred(reference, name)


def _script(script: str, *words: str) -> str:
    """A command that runs a script of ours; the words are its $0, $1, …"""
    return command_line([_SHELL, "-c", literal(" ".join(script.split("\n")).strip()), *words])


def _container(
    name: str, file: UnitFile, engine: Engine, resolve: Callable[[str], str], exists: Callable[[str], bool]
) -> tuple[list[tuple[str, str]], list[Finding]]:
    own = container_name(resource_name(name, file))
    run, findings = container_options(file, engine, resolve, exists)
    base = base_command(file, "Container", engine)
    oneshot = file.last("Service", "Type") == "oneshot"
    clear = _script(_CLEAR, own, *base)
    lines = [("SuccessExitStatus", " ".join(map(str, _good_ends(file)))), ("KillMode", "mixed")]
    if engine.manager != "supervisor":
        lines.append(("SyslogIdentifier", "%N"))
    stop = _stop_timeout(file)
    if stop is not None:
        lines.append(("TimeoutStopSec", stop))
    lines += _reload(file, base, own)
    last_words = [*run.options, *run.image, *run.command]
    if engine.notifies:
        lines += _detached(file, engine, base, own, last_words, oneshot)
        return lines, findings
    lines.append(("Type", "oneshot" if oneshot else "exec"))
    lines.append(("ExecStartPre", clear))
    create = [*base[1:], "create", "--name", own, *_kept(file, engine), *last_words]
    lines.append(("ExecStartPre", _script(_QUIET, engine.program, *create)))
    for network, options in run.connect:
        lines.append(("ExecStartPre", command_line([*base, "network", "connect", *options, network, own])))
    lines.append(("ExecStart", command_line([*base, "start", "--attach", own])))
    if not oneshot:
        lines.append(("ExecStartPost", _script(_started(file, engine), own, *base)))
    lines.append(("ExecStop", _script(_STOP, own, *base)))
    lines.append(("ExecStopPost", clear))
    return lines, findings


def _detached(file: UnitFile, engine: Engine, base: list[str], own: str, words: list[str], oneshot: bool) -> list[tuple[str, str]]:
    """Podman under systemd, as Quadlet does it."""
    remove = command_line(["rm", "-v", "-f", "-i", own])
    mode = last(file, "Container", "CgroupsMode")
    cgroups = [] if mode or not engine.unified else ["--cgroups=split"]
    notify = [] if oneshot else [f"--sdnotify={_sdnotify(file)}", "-d"]
    lines = [
        ("Environment", "PODMAN_SYSTEMD_UNIT=%n"),
        ("Delegate", "yes"),
        ("ExecStart", command_line([*base, "run", "--name", own, "--replace", "--rm", *cgroups, *notify, *words])),
        ("ExecStop", f"{command_line(base)} {remove}"),
        ("ExecStopPost", f"-{command_line(base)} {remove}"),
    ]
    if oneshot:
        return lines
    return [*lines, ("Type", "notify"), ("NotifyAccess", "all")]


def _sdnotify(file: UnitFile) -> str:
    if (last(file, "Container", "Notify") or "").lower() == "healthy":
        return "healthy"
    return "container" if switch(file, "Container", "Notify") else "conmon"


def _started(file: UnitFile, engine: Engine) -> str:
    if (last(file, "Container", "Notify") or "").lower() == "healthy":
        return _HEALTHY if engine.kind == "docker" else _HEALTHY_PODMAN
    return _STARTED


def _kept(file: UnitFile, engine: Engine) -> list[str]:
    """Options for a container to attach to. Podman's is removed by ExecStopPost= alone, so that its exit status is there until the client
    has read it; its usual log driver is the journal, which need not be there."""
    if engine.kind == "docker":
        return ["--rm"]
    return [] if last(file, "Container", "LogDriver") else ["--log-driver", "k8s-file"]


def _good_ends(file: UnitFile) -> list[int]:
    numbers = [signal_number(name) for name in SIGNALS_THAT_END_WELL]
    own = last(file, "Container", "StopSignal")
    if own:
        try:
            numbers.append(signal_number(own.upper()))
        except ValueError as error:
            raise InvalidUnit(f"StopSignal={shown(own)}: {error}") from None
    return sorted({128 + number for number in numbers})


def _stop_timeout(file: UnitFile) -> str | None:
    """systemd waits longer than the engine, unless the file says how long."""
    wanted = last(file, "Container", "StopTimeout")
    if not wanted:
        return None
    if not (wanted.isascii() and wanted.isdecimal()) or len(wanted) > 9:
        raise InvalidUnit(f"StopTimeout={shown(wanted)} is no number of seconds")
    for name in ("TimeoutStopSec", "TimeoutSec"):
        given = file.last("Service", name)
        if given is not None:
            _check_longer(name, given, int(wanted))
            return None
    return str(max(USUAL_STOP, int(wanted) + STOP_MARGIN))


def _check_longer(name: str, given: str, wanted: int) -> None:
    try:
        seconds = timeout(given)
    except ValueError:
        return  # systemd ignores it, and verify tells
    if seconds < wanted and seconds != FOREVER:
        raise InvalidUnit(f"{name}={given} is shorter than StopTimeout={wanted}", remedy="the engine must be given its time")


def _reload(file: UnitFile, base: list[str], own: str) -> list[tuple[str, str]]:
    command = split("ReloadCmd", raw(file, "Container", "ReloadCmd"))
    number = last(file, "Container", "ReloadSignal")
    if command and number:
        raise InvalidUnit("ReloadCmd= and ReloadSignal= exclude each other")
    if command:
        return [("ExecReload", command_line([*base, "exec", own, *command]))]
    return [("ExecReload", command_line([*base, "kill", "--signal", number, own]))] if number else []


def _resource(name: str, kind: str, file: UnitFile, engine: Engine) -> tuple[list[tuple[str, str]], list[Finding]]:
    own = container_name(resource_name(name, file))
    options, findings = volume_options(file, engine) if kind == "Volume" else network_options(file, engine)
    base = base_command(file, kind, engine)
    noun = kind.lower()
    lines = [("RemainAfterExit", "yes")]
    if file.last("Service", "Type") is None:
        lines.append(("Type", "oneshot"))
    if engine.manager != "supervisor":
        lines.append(("SyslogIdentifier", "%N"))
    lines.append(("ExecStart", _script(_ENSURE, own, str(len(base)), noun, *base, noun, "create", *options)))
    if kind == "Network" and switch(file, kind, "NetworkDeleteOnStop"):
        lines.append(("ExecStopPost", _script(_REMOVE_NETWORK, own, *base)))
    return lines, findings
