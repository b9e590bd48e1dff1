"""Starting one command of a unit: its environment, folder, user and program, as systemd gives them. No shell."""

from __future__ import annotations

import contextlib
import glob
import grp
import os
import pwd
import resource
import stat
import subprocess
from collections.abc import Mapping

import msgspec

from argosy import proc
from argosy.agent.supervise.family import MARK
from argosy.agent.supervise.states import CommandList, Exit, Pid, Role, Run
from argosy.programs import PATH
from argosy.unit.command import Command, arguments
from argosy.unit.environment import parse_environment_file
from argosy.unit.service import EnvironmentFile, ServiceSpec

LARGEST_ENVIRONMENT_FILE = 1024 * 1024
CHDIR, EXEC, GROUP, USER = 200, 203, 216, 217
"""Exit codes of systemd for a child that did not get as far as its program."""


class CannotSpawn(Exception):
    """Why, and how systemd's child would have ended (`result` where systemd would not even have made one)."""

    def __init__(self, why: str, code: int = EXEC, result: str = "") -> None:
        super().__init__(why)
        self.exit = Exit("exited", code)
        self.result = result


class Place(msgspec.Struct, frozen=True):
    """What a supervisor gives to all that it starts: `variables` below the unit's own; the address of its notify socket; the id of its
    folder for marks; the soft limit of open files that it found itself with."""

    variables: Mapping[str, str]
    notify: str
    folder: str
    open_files: int


class _Identity(msgspec.Struct, frozen=True):
    """Whom to run as. `change`: (uid, gid, groups) where that is not who we are."""

    variables: Mapping[str, str]
    home: str
    change: tuple[int, int, tuple[int, ...]] | None = None


def spawn(place: Place, spec: ServiceSpec, run: Run, role: Role, name: CommandList, command: Command, output: int) -> Pid:
    """Runs the command in a session of its own, its output going to the file `output`. Raises CannotSpawn."""
    identity = _identity(spec, command)
    variables = environment(place, spec, run, name, identity.variables)
    words = arguments(command, variables)
    if not words:
        raise CannotSpawn(f"{command.argv[0]}: nothing is left to run when the variables are filled in")
    folder = _folder(spec, identity.home)
    user, group, groups = identity.change or (None, None, None)
    if user is not None:
        os.fchown(output, user, -1)  # so that /dev/stdout can be opened
    try:
        child = subprocess.Popen(
            words,
            executable=_program(command.path, place.variables.get("PATH", PATH)),
            env=variables,
            cwd=folder,
            user=user,
            group=group,
            extra_groups=groups,
            umask=spec.umask,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        resources = isinstance(error, OSError) and error.filename is None
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CannotSpawn(f"{command.path}: {reason}", EXEC, "resources" if resources else "") from error
    child.returncode = 0  # the supervisor waits for all children itself: Popen must not
    with contextlib.suppress(OSError):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        if limit[0] != place.open_files:
            resource.prlimit(child.pid, resource.RLIMIT_NOFILE, (min(place.open_files, limit[1]), limit[1]))
    entry = proc.look(child.pid)
    return Pid(child.pid, entry.start if entry else 0)


def environment(place: Place, spec: ServiceSpec, run: Run, name: CommandList, own: Mapping[str, str]) -> dict[str, str]:
    """The variables of a command, later ones winning: the supervisor's, what tells of the run, Environment=, EnvironmentFile=."""
    variables = {"PATH": PATH, **own, **place.variables, "INVOCATION_ID": run.invocation}
    if spec.notify_access != "none":
        variables["NOTIFY_SOCKET"] = place.notify
    if run.main is not None:
        variables["MAINPID"] = str(run.main.pid)
    if name in ("stop", "stop_post"):
        variables["SERVICE_RESULT"] = run.result
        if run.exit is not None:
            variables |= {"EXIT_CODE": run.exit.kind, "EXIT_STATUS": run.exit.shown}
    variables.update(spec.environment)
    for file in spec.environment_files:
        variables |= _environment_file(file)
    variables[MARK] = mark(place.folder, spec.name, run.invocation)
    return variables


def mark(folder: str, unit: str, invocation: str) -> str:
    return f"{folder}:{unit}:{invocation}"


def _environment_file(file: EnvironmentFile) -> dict[str, str]:
    paths = sorted(glob.glob(file.path)) if glob.has_magic(file.path) else [file.path]
    found: dict[str, str] = {}
    try:
        if not paths:
            raise FileNotFoundError(2, "no such file", file.path)
        for path in paths:
            found |= parse_environment_file(_read(path))
    except OSError as error:
        if not file.optional:
            raise CannotSpawn(f"EnvironmentFile={file.path}: {error.strerror}", result="resources") from error
    return found


def _read(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(22, "not a regular file", path)
        data = file.read(LARGEST_ENVIRONMENT_FILE + 1)
    if len(data) > LARGEST_ENVIRONMENT_FILE:
        raise OSError(27, f"larger than {LARGEST_ENVIRONMENT_FILE} bytes", path)
    return data.decode(errors="surrogateescape")


def _identity(spec: ServiceSpec, command: Command) -> _Identity:
    own = os.geteuid()
    named = (spec.user, spec.group) if command.as_user else ("", "")
    try:
        entry = _user(named[0]) if named[0] else pwd.getpwuid(own)
    except KeyError:
        if named[0]:
            raise CannotSpawn(f"User={named[0]}: there is no such user", USER) from None
        return _Identity({}, "/")
    try:
        gid = _group(named[1]) if named[1] else entry.pw_gid
    except KeyError:
        raise CannotSpawn(f"Group={named[1]}: there is no such group", GROUP) from None
    names = {"USER": entry.pw_name, "LOGNAME": entry.pw_name, "HOME": entry.pw_dir, "SHELL": entry.pw_shell or "/bin/sh"}
    variables = names if named[0] or own != 0 else {}
    if own != 0:
        if entry.pw_uid != own:
            raise CannotSpawn(f"User={named[0]}: only a supervisor that runs as root can run units as others", USER)
        if named[1] and gid != os.getegid():
            raise CannotSpawn(f"Group={named[1]}: only a supervisor that runs as root can run units with other groups", GROUP)
        return _Identity(variables, entry.pw_dir)
    if not any(named):
        return _Identity(variables, entry.pw_dir)
    groups = os.getgrouplist(entry.pw_name, gid) if named[0] else [gid]
    return _Identity(variables, entry.pw_dir, (entry.pw_uid, gid, tuple(groups)))


def _user(name: str) -> pwd.struct_passwd:
    if not name.isdecimal():
        return pwd.getpwnam(name)
    try:
        return pwd.getpwuid(int(name))
    except (KeyError, OverflowError):
        if int(name) >= 2**32 - 1:
            raise KeyError(name) from None
        return pwd.struct_passwd((name, "x", int(name), int(name), "", "/", "/bin/sh"))


def _group(name: str) -> int:
    return int(name) if name.isdecimal() and int(name) < 2**32 - 1 else grp.getgrnam(name).gr_gid


def _folder(spec: ServiceSpec, home: str) -> str:
    wanted = home if spec.working_directory == "~" else spec.working_directory
    if not wanted:
        return "/" if os.geteuid() == 0 or not _is_usable(home) else home
    if _is_usable(wanted):
        return wanted
    if spec.working_directory_optional:
        return "/"
    raise CannotSpawn(f"WorkingDirectory={wanted}: no such folder, or no way into it", CHDIR)


def _is_usable(folder: str) -> bool:
    return os.path.isdir(folder) and os.access(folder, os.X_OK)


def _program(path: str, search: str) -> str:
    if "/" in path:
        return path
    for folder in search.split(":"):
        candidate = f"{folder}/{path}"
        if folder.startswith("/") and os.access(candidate, os.X_OK) and os.path.isfile(candidate):
            return candidate
    raise CannotSpawn(f"{path}: there is no such program in {search}")
