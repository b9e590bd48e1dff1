"""What a service unit asks of the supervisor: the subset of systemd that it honours, with systemd 252's defaults and rules.

An assignment that systemd ignores with a warning is ignored here with a Problem; what makes systemd refuse a unit is an error. Directives
outside the subset are named by `verify.unhonoured`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from argosy.errors import InvalidUnit
from argosy.unit.command import Command, commands
from argosy.unit.environment import environment
from argosy.unit.names import shortened, shown
from argosy.unit.parse import Option, Problem, UnitFile
from argosy.unit.specifiers import NotHonoured, Specifiers, expand_systemd, unit_names
from argosy.unit.values import (
    ACTIONS,
    FOREVER,
    KILL_MODES,
    NOTIFY_ACCESSES,
    RESTARTS,
    TYPES,
    TYPES_NOT_HONOURED,
    boolean,
    count,
    exit_status,
    mode,
    signal_number,
    time_span,
    timeout,
)

_QUIET_SIGNALS = (1, 2, 13, 15)
"""SIGHUP, SIGINT, SIGPIPE, SIGTERM: a service that one of these ends has ended well."""


class EnvironmentFile(msgspec.Struct, frozen=True):
    """A file (or a glob of files) to read variables from; `optional` if it may be missing."""

    path: str
    optional: bool = False


class ServiceSpec(msgspec.Struct, frozen=True):
    """A service as the supervisor runs it. Times are seconds, `values.FOREVER` for never; specifiers are replaced.

    `working_directory` is an absolute path, "~" for the home of the user, "" if not set (`/`); if `working_directory_optional`, one that
    is missing does not matter. `umask`: file mode bits. `kill_signal` is a number.
    """

    name: str
    type: str = "simple"
    description: str = ""
    environment: tuple[tuple[str, str], ...] = ()
    environment_files: tuple[EnvironmentFile, ...] = ()
    working_directory: str = ""
    working_directory_optional: bool = False
    user: str = ""
    group: str = ""
    umask: int = 0o022
    start_pre: tuple[Command, ...] = ()
    start: tuple[Command, ...] = ()
    start_post: tuple[Command, ...] = ()
    reload: tuple[Command, ...] = ()
    stop: tuple[Command, ...] = ()
    stop_post: tuple[Command, ...] = ()
    restart: str = "no"
    restart_sec: float = 0.1
    start_limit_burst: int = 5
    start_limit_interval: float = 10.0
    timeout_start: float = 90.0
    timeout_stop: float = 90.0
    kill_signal: int = 15
    kill_mode: str = "control-group"
    send_sigkill: bool = True
    remain_after_exit: bool = False
    notify_access: str = "none"
    success_statuses: tuple[int, ...] = ()
    success_signals: tuple[int, ...] = ()
    binds_to: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    part_of: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    success_action: str = "none"

    def is_success(self, status: int | None, signal: int | None, *, main: bool = True) -> bool:
        """Whether a process that exited with `status`, or that `signal` ended, did well. `main`: the service's main process, which may be
        ended quietly unless the service is a oneshot; control processes (ExecStartPre= and the like) may not."""
        if signal is not None:
            return signal in self.success_signals or (main and self.type != "oneshot" and signal in _QUIET_SIGNALS)
        return status == 0 or status in self.success_statuses

    def restarts_after(self, result: str) -> bool:
        """Whether Restart= applies to a service that ended by itself with this result, in systemd's words: success, exit-code, signal,
        core-dump, watchdog, timeout, ..."""
        match self.restart:
            case "always":
                return True
            case "on-success":
                return result == "success"
            case "on-failure":
                return result != "success"
            case "on-abnormal":
                return result not in ("success", "exit-code")
            case "on-watchdog":
                return result == "watchdog"
            case "on-abort":
                return result in ("signal", "core-dump")
        return False


def service(name: str, file: UnitFile, specifiers: Specifiers) -> ServiceSpec:
    """The service as the supervisor shall run it. Raises InvalidUnit for what systemd refuses and for what the supervisor cannot do in any
    honest way (Type=forking, credentials, ...)."""
    spec, problems = read_service(name, file, specifiers)
    refused = [problem for problem in problems if problem.severity == "error"] + list(beyond_supervisor(file, specifiers))
    if refused:
        raise InvalidUnit(f"{name}: " + "; ".join(dict.fromkeys(str(problem) for problem in refused)))
    return spec


def read_service(name: str, file: UnitFile, specifiers: Specifiers) -> tuple[ServiceSpec, tuple[Problem, ...]]:
    """The service as far as it can be understood, and everything in it that systemd would warn of or refuse."""
    reading = _Reading(name, specifiers)
    for option in file.options:
        reading.take(option)
    return reading.finish()


def beyond_supervisor(file: UnitFile, specifiers: Specifiers) -> tuple[Problem, ...]:
    """What systemd can do and the supervisor must refuse to, because the service would not work."""
    found = []
    for option in file.options:
        if option.section == "Unit" and option.name == "SuccessAction" and not file.values("Service", "ExecStart"):
            remedy = "give the service an ExecStart="
            found.append(
                Problem(option.line, "warning", f"the supervisor does not honour SuccessAction=, all that the unit does; {remedy}")
            )
        if option.section != "Service":
            continue
        if option.name == "Type" and option.joined in ("forking", "dbus"):
            remedy = "let the program stay in the foreground, as Type=simple or notify"
            found.append(Problem(option.line, "warning", f"the supervisor does not honour Type={option.joined}; {remedy}"))
        elif option.name in _COMMANDS or option.name in ("Environment", "EnvironmentFile", "WorkingDirectory", "User", "Group"):
            try:
                expand_systemd(option.joined, specifiers)
            except NotHonoured as error:
                found.append(Problem(option.line, "warning", f"{option.name}=: {error}"))
            except InvalidUnit:
                pass  # told by read_service, with what systemd makes of it
    return tuple(found)


def _one_of(words: tuple[str, ...]) -> Callable[[str], str]:
    def choose(text: str) -> str:
        if text not in words:
            raise ValueError(f"{shown(text)} is none of {', '.join(words)}")
        return text

    return choose


_COMMANDS = {
    "ExecStartPre": "start_pre",
    "ExecStart": "start",
    "ExecStartPost": "start_post",
    "ExecReload": "reload",
    "ExecStop": "stop",
    "ExecStopPost": "stop_post",
}
_UNITS = {"BindsTo": "binds_to", "BindTo": "binds_to", "Requires": "requires", "PartOf": "part_of", "After": "after"}
_SCALARS: dict[tuple[str, str], tuple[tuple[str, ...], Callable[[str], Any]]] = {
    ("Unit", "StartLimitIntervalSec"): (("start_limit_interval",), time_span),
    ("Unit", "StartLimitInterval"): (("start_limit_interval",), time_span),
    ("Unit", "StartLimitBurst"): (("start_limit_burst",), count),
    ("Unit", "SuccessAction"): (("success_action",), _one_of(ACTIONS)),
    ("Service", "StartLimitInterval"): (("start_limit_interval",), time_span),
    ("Service", "StartLimitBurst"): (("start_limit_burst",), count),
    ("Service", "Type"): (("type",), _one_of(TYPES + TYPES_NOT_HONOURED)),
    ("Service", "Restart"): (("restart",), _one_of(RESTARTS)),
    ("Service", "RestartSec"): (("restart_sec",), time_span),
    ("Service", "TimeoutStartSec"): (("timeout_start",), timeout),
    ("Service", "TimeoutStopSec"): (("timeout_stop",), timeout),
    ("Service", "TimeoutSec"): (("timeout_start", "timeout_stop"), timeout),
    ("Service", "KillSignal"): (("kill_signal",), signal_number),
    ("Service", "KillMode"): (("kill_mode",), lambda text: _one_of(KILL_MODES)(text or "control-group")),
    ("Service", "SendSIGKILL"): (("send_sigkill",), boolean),
    ("Service", "RemainAfterExit"): (("remain_after_exit",), boolean),
    ("Service", "NotifyAccess"): (("notify_access",), _one_of(NOTIFY_ACCESSES)),
    ("Service", "UMask"): (("umask",), mode),
}


class _Reading:
    """Options in, one after the other, as systemd takes them; a ServiceSpec out."""

    def __init__(self, name: str, specifiers: Specifiers) -> None:
        self.name = name
        self.specifiers = specifiers
        self.fields: dict[str, Any] = {}
        self.lists: dict[str, list[Any]] = {}
        self.units: dict[str, dict[str, None]] = {}
        self.success: set[tuple[int | None, int | None]] = set()
        self.environment: dict[str, str] = {}
        self.problems: list[Problem] = []
        self.lines: dict[str, int] = {}

    def take(self, option: Option) -> None:
        value = option.joined
        self.lines.setdefault(option.name, option.line)
        scalar = _SCALARS.get((option.section, option.name))
        try:
            if scalar:
                self._scalar(option, value, *scalar)
            elif option.section == "Unit" and option.name in _UNITS:
                self._units(_UNITS[option.name], value)
            elif option.section == "Unit" and option.name == "Description":
                self.fields["description"] = expand_systemd(value, self.specifiers)
            elif option.section == "Service" and option.name in _COMMANDS:
                self._commands(option, value, _COMMANDS[option.name])
            elif option.section == "Service":
                self._execution(option, value)
        except NotHonoured:
            pass  # systemd would take it; `beyond_supervisor` tells
        except InvalidUnit as error:
            forgiving = option.name == "WorkingDirectory" and value.startswith("-")
            fatal = option.name in (*_COMMANDS, "User", "Group", "WorkingDirectory") and not forgiving
            self._problem(option, f"{option.name}=: {error}" if fatal else f"{option.name}= is ignored: {error}", fatal=fatal)

    def _problem(self, option: Option, message: str, *, fatal: bool = False) -> None:
        self.problems.append(Problem(option.line, "error" if fatal else "warning", message))

    def _scalar(self, option: Option, value: str, fields: tuple[str, ...], read: Callable[[str], Any]) -> None:
        try:
            found = read(value)
        except ValueError as error:
            self._problem(option, f"{option.name}={shortened(value)} is ignored: {error}")
            return
        for field in fields:
            self.fields[field] = found

    def _units(self, field: str, value: str) -> None:
        names = unit_names(value, self.name)
        found = self.units.setdefault(field, {})
        found.update(dict.fromkeys(names))

    def _commands(self, option: Option, value: str, field: str) -> None:
        if not value:
            self.lists.pop(field, None)
            return
        notes: list[str] = []
        self.lists.setdefault(field, []).extend(commands(value, self.specifiers, notes))
        for note in notes:
            self._problem(option, f"{option.name}=: {note}")

    def _execution(self, option: Option, value: str) -> None:
        if option.name == "Environment":
            self._environment(option, value)
        elif option.name == "EnvironmentFile":
            self._environment_file(option, value)
        elif option.name == "WorkingDirectory":
            self._working_directory(option, value)
        elif option.name in ("User", "Group"):
            self.fields[option.name.lower()] = _user(expand_systemd(value, self.specifiers)) if value else ""
        elif option.name == "SuccessExitStatus":
            self._success(option, value)

    def _environment(self, option: Option, value: str) -> None:
        if not value:
            self.environment.clear()
            return
        notes: list[str] = []
        self.environment.update(environment(value, self.specifiers, notes))
        for note in notes:
            self._problem(option, f"Environment=: {note}")

    def _environment_file(self, option: Option, value: str) -> None:
        if not value:
            self.lists.pop("environment_files", None)
            return
        path = expand_systemd(value, self.specifiers)
        optional = path.startswith("-")
        path = path.removeprefix("-")
        simple = _simplified(path)
        if not simple:
            self._problem(option, f"EnvironmentFile={shortened(value)} is ignored: the path must be absolute, without '..'")
            return
        self.lists.setdefault("environment_files", []).append(EnvironmentFile(simple, optional))

    def _working_directory(self, option: Option, value: str) -> None:
        optional = value.startswith("-")
        path = value.removeprefix("-")
        if path and path != "~":
            path = _simplified(expand_systemd(path, self.specifiers))
        if value and not path:
            self._problem(option, f"WorkingDirectory={shortened(value)} is no absolute path without '..' (or ~)", fatal=not optional)
            return
        self.fields["working_directory"] = path
        self.fields["working_directory_optional"] = optional

    def _success(self, option: Option, value: str) -> None:
        if not value:
            self.success.clear()
        for word in value.split():
            try:
                self.success.add(exit_status(word))
            except ValueError as error:
                self._problem(option, f"SuccessExitStatus={shortened(word)} is ignored: {error}")

    def finish(self) -> tuple[ServiceSpec, tuple[Problem, ...]]:
        fields = self.fields | {field: tuple(found) for field, found in self.units.items()}
        fields |= {field: tuple(found) for field, found in self.lists.items()}
        fields["environment"] = tuple(self.environment.items())
        fields["success_statuses"] = tuple(sorted(status for status, _ in self.success if status is not None))
        fields["success_signals"] = tuple(sorted(signal for _, signal in self.success if signal is not None))
        fields.setdefault("type", "simple" if fields.get("start") else "oneshot")
        if fields["type"] == "oneshot":
            fields.setdefault("timeout_start", FOREVER)
        if fields["type"] == "notify" and fields.get("notify_access", "none") == "none":
            fields["notify_access"] = "main"
        spec = ServiceSpec(self.name, **fields)
        for directive, message in _contradictions(spec):
            self.problems.append(Problem(self.lines.get(directive, 0), "error", message))
        return spec, tuple(sorted(self.problems, key=lambda problem: problem.line))


def _contradictions(spec: ServiceSpec) -> list[tuple[str, str]]:
    """The directive and the rule, for what makes systemd refuse a service as a whole."""
    oneshot = spec.type == "oneshot"
    acts = spec.success_action != "none"  # as systemd's own systemd-poweroff.service, which has no commands at all
    found = []
    if not spec.start and not spec.stop and not acts:
        found.append(("ExecStart", "a service needs ExecStart="))
    elif not spec.start and not oneshot:
        found.append(("Type", f"Type={spec.type} needs ExecStart="))
    elif not spec.start and not spec.remain_after_exit and not acts:
        found.append(("ExecStop", "a oneshot without ExecStart= needs RemainAfterExit=yes"))
    if len(spec.start) > 1 and not oneshot:
        found.append(("ExecStart", "more than one ExecStart= command is for Type=oneshot only"))
    if oneshot and spec.restart in ("always", "on-success"):
        found.append(("Restart", f"Restart={spec.restart} is not for Type=oneshot"))
    return found


def _user(text: str) -> str:
    """A name or number of a user or group, by systemd's relaxed rules."""
    number = text.isascii() and text.isdigit()
    if (
        not text
        or text in (".", "..")
        or text != text.strip()
        or re.search(r"[\x00-\x1f\x7f:/]", text)
        or re.fullmatch(r"-[0-9]+|0[0-9]+", text)
        or (number and (len(text) > 10 or int(text) in (0xFFFF, 0xFFFFFFFF) or int(text) > 0xFFFFFFFF))
    ):
        raise InvalidUnit(f"{shown(text)} is no name or number of a user or group")
    return text


def _simplified(path: str) -> str:
    """An absolute path with neither empty nor `.` components; "" if it is none, or holds `..` or control characters."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    bad = not path.startswith("/") or ".." in parts or re.search(r"[\x00-\x1f\x7f]", path)
    return "" if bad else "/" + "/".join(parts)
