"""Quadlet files: names, values and argument lists as Podman's own generator makes them, and what Docker is given in their place."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from argosy.errors import InvalidUnit
from argosy.unit.command import arguments, commands
from argosy.unit.options import is_oneshot, remains_after_exit, requirements, restart_setting
from argosy.unit.parse import parse
from argosy.unit.quadlet.engine import Engine, quoted
from argosy.unit.quadlet.keys import EngineKind
from argosy.unit.quadlet.names import file_names, unit_name
from argosy.unit.quadlet.reading import kind_of, looks_like_one, references
from argosy.unit.quadlet.service import translate
from argosy.unit.service import service
from argosy.unit.specifiers import Specifiers
from argosy.unit.validate import validate

PODMAN = Engine("podman", "/usr/bin/podman", manager="systemd")
DOCKER = Engine("docker", "/usr/bin/docker", manager="systemd")
ATTACHED = Engine("podman", "/usr/bin/podman")
ENGINES: dict[EngineKind, Engine] = {"docker": DOCKER, "podman": PODMAN}


def translated(text: str, engine: Engine, name: str = "web.service", others: dict[str, str] | None = None) -> str:
    return translate(name, text, engine, others or {}, lambda path: path == "/dev/here")


def argv(text: str, option: str, name: str = "web.service") -> list[list[str]]:
    """The argument lists of all commands of an option, specifiers and variables replaced."""
    file = parse(text)
    found = [command for line in file.values("Service", option) for command in commands(line, Specifiers(name=name))]
    return [arguments(command, {"HOME": "/root", "BOTH": "a b"}) for command in found]


def run(lines: Sequence[str], kind: EngineKind, name: str = "web.service", others: dict[str, str] | None = None) -> list[str]:
    """The arguments that a [Container] with Image=i makes of these lines, between what every container gets and the image."""
    text = translated("\n".join(["[Container]", "Image=i", *lines, ""]), ENGINES[kind], name, others)
    if kind == "podman":
        (words,) = argv(text, "ExecStart", name)
        begin = ["/usr/bin/podman", "run", "--name", "systemd-web", "--replace", "--rm", "--cgroups=split", "--sdnotify=conmon", "-d"]
    else:
        words = argv(text, "ExecStartPre", name)[1][3:]
        begin = ["/usr/bin/docker", "create", "--name", "systemd-web", "--rm"]
        assert words.pop(0)  # the shell's $0 is the program
        words.insert(0, begin[0])
    assert words[: len(begin)] == begin
    return words[len(begin) :]


SAME: Sequence[tuple[str, Sequence[str], list[str]]] = [
    # sentence, lines, arguments on both engines
    ("an image alone", [], ["i"]),
    ("arguments follow the image", ['Exec=a \'b c\' "d\\"e"'], ["i", "a", "b c", 'd"e']),
    ("the last Exec= counts", ["Exec=a", "Exec=b"], ["i", "b"]),
    ("an empty one takes it back", ["Exec=a", "Exec="], ["i"]),
    ("an empty word is a word", ["Exec=a '' b"], ["i", "a", "", "b"]),
    ("a semicolon is a word like any other", ["Exec=a ; b"], ["i", "a", ";", "b"]),
    ("lines are joined as they stand", ["Exec=a\\", "  b"], ["i", "ab"]),
    ("comments between them do not count", ["Exec=a \\", "# no", "  b"], ["i", "a", "b"]),
    ("${NAME} is systemd's", ["Exec=x${HOME}y $BOTH"], ["i", "x/rooty", "a", "b"]),
    ("doubled signs are single ones", ["Exec=$$HOME 100%%"], ["i", "$HOME", "100%"]),
    ("specifiers are systemd's", ["HostName=%p"], ["--hostname", "web", "i"]),
    (
        "pairs are split, sorted, and the last of a key counts",
        ["Environment=B=1 'A=x y'", "Environment=B=2"],
        ["--env", "A=x y", "--env", "B=2", "i"],
    ),
    ("an empty assignment resets a list", ["Environment=A=1", "Environment=", "Environment=B=2"], ["--env", "B=2", "i"]),
    ("a name alone takes the value of whoever runs it", ["Environment=A"], ["--env", "A", "i"]),
    ("a container that may write keys", ["[X-Argosy]", "Keys=write"], ["--label", "argosy.keys=write", "i"]),
    ("one that may only read them", ["[X-Argosy]", "Keys=read"], ["i"]),
    ("labels", ['Label="a=b c" d=e'], ["--label", "a=b c", "--label", "d=e", "i"]),
    (
        "each port is a line",
        ["PublishPort=80", "PublishPort=127.0.0.1:8080:80/udp"],
        ["--publish", "80", "--publish", "127.0.0.1:8080:80/udp", "i"],
    ),
    ("ports may be IPv6's", ["PublishPort=[::1]:8080:80"], ["--publish", "[::1]:8080:80", "i"]),
    ("exposed ports", ["ExposeHostPort=50-59"], ["--expose", "50-59", "i"]),
    (
        "capabilities in words, and in small letters",
        ["AddCapability=NET_ADMIN SYS_TIME", "DropCapability=ALL"],
        ["--cap-add", "net_admin", "--cap-add", "sys_time", "--cap-drop", "all", "i"],
    ),
    (
        "devices that may be missing",
        ["AddDevice=-/dev/here:/dev/x -/dev/gone", "AddDevice=/dev/gone"],
        ["--device", "/dev/here:/dev/x", "--device", "/dev/gone", "i"],
    ),
    (
        "hosts and name servers",
        ["AddHost=a:1.2.3.4", "DNS=1.1.1.1", "DNSOption=ndots:1", "DNSSearch=x"],
        ["--add-host", "a:1.2.3.4", "--dns", "1.1.1.1", "--dns-option", "ndots:1", "--dns-search", "x", "i"],
    ),
    ("an entry point is one word", ["Entrypoint=/bin/sh"], ["--entrypoint=/bin/sh", "i"]),
    ("an empty one clears the image's", ["Entrypoint="], ["--entrypoint=", "i"]),
    ("files of variables", ["EnvironmentFile=/a '/b c'"], ["--env-file", "/a", "--env-file", "/b c", "i"]),
    (
        "a health check",
        ["HealthCmd=true || false", "HealthInterval=1s", "HealthRetries=2", "HealthStartPeriod=3s", "HealthTimeout=4s"],
        [
            "--health-cmd",
            "true || false",
            "--health-interval",
            "1s",
            "--health-retries",
            "2",
            "--health-start-period",
            "3s",
            "--health-timeout",
            "4s",
            "i",
        ],
    ),
    ("a pair of double quotes around a single value is taken off", ['HostName="a"'], ["--hostname", "a", "i"]),
    ("switches, off and on", ["RunInit=yes", "ReadOnly=no"], ["--read-only=false", "--init", "i"]),
    ("user and group", ["User=1", "Group=2"], ["--user", "1:2", "i"]),
    (
        "security",
        [
            "NoNewPrivileges=true",
            "SeccompProfile=/p",
            "AppArmor=x",
            "SecurityLabelDisable=1",
            "SecurityLabelLevel=s0",
            "SecurityLabelType=t",
        ],
        [
            "--security-opt",
            "apparmor=x",
            "--security-opt=no-new-privileges",
            "--security-opt",
            "seccomp=/p",
            "--security-opt",
            "label=disable",
            "--security-opt",
            "label=level:s0",
            "--security-opt",
            "label=type:t",
            "i",
        ],
    ),
    (
        "limits",
        ["Memory=1g", "PidsLimit=9", "ShmSize=1m", "Ulimit=nofile=1:2", "Sysctl=a=b c=d"],
        ["--memory", "1g", "--pids-limit", "9", "--shm-size", "1m", "--sysctl", "a=b", "--sysctl", "c=d", "--ulimit", "nofile=1:2", "i"],
    ),
    (
        "addresses",
        ["Network=n", "IP=1.2.3.4", "IP6=::2", "NetworkAlias=x"],
        ["--ip", "1.2.3.4", "--ip6", "::2", "--network", "n", "--network-alias", "x", "i"],
    ),
    ("how it is stopped", ["StopSignal=SIGINT", "StopTimeout=5"], ["--stop-signal", "SIGINT", "--stop-timeout", "5", "i"]),
    ("logs", ["LogDriver=journald", "LogOpt=a=b 'c=d e'"], ["--log-driver", "journald", "--log-opt", "a=b", "--log-opt", "c=d e", "i"]),
    ("folders and volumes", ["Volume=/a:/b:ro,Z", "Volume=v:/c", "Volume=/d"], ["-v", "/a:/b:ro,Z", "-v", "v:/c", "-v", "/d", "i"]),
    (
        "a path is a path whatever its name",
        ["Volume=/srv/my.volume:/data", "Mount=type=bind,source=/srv/my.image,target=/b"],
        ["--mount", "type=bind,source=/srv/my.image,target=/b", "-v", "/srv/my.volume:/data", "i"],
    ),
    ("mounts have their type first", ["Mount=src=/a,type=bind,dst=/b"], ["--mount", "type=bind,source=/a,dst=/b", "i"]),
    (
        "tmpfs, folder and policy",
        ["Tmpfs=/t:size=1m", "WorkingDir=/w", "Pull=never"],
        ["--pull", "never", "--tmpfs", "/t:size=1m", "--workdir", "/w", "i"],
    ),
]


@pytest.mark.parametrize(("sentence", "lines", "expected"), SAME, ids=[row[0] for row in SAME])
@pytest.mark.parametrize("kind", ["docker", "podman"])
def test_what_both_engines_are_given(sentence: str, lines: Sequence[str], expected: list[str], kind: EngineKind) -> None:
    assert run(lines, kind) == expected, sentence


WRITABLE = "rw,nosuid,nodev,exec,mode=1777"
DIFFERENT: Sequence[tuple[str, Sequence[str], list[str], list[str]]] = [
    # sentence, lines, Podman's arguments, Docker's
    (
        "an entry point in JSON is split for Docker",
        ['Entrypoint=["a","b"]', "Exec=c"],
        ['--entrypoint=["a","b"]', "i", "c"],
        ["--entrypoint=a", "i", "b", "c"],
    ),
    (
        "a check in JSON is quoted for the shell",
        ['HealthCmd=["CMD","a","it\'s"]'],
        ["--health-cmd", '["CMD","a","it\'s"]', "i"],
        ["--health-cmd", "'a' 'it'\\''s'", "i"],
    ),
    *(
        (
            f"a check of one word is the shell's: {value}",
            [f"HealthCmd={value}"],
            ["--health-cmd", value, "i"],
            ["--health-cmd", "a || b", "i"],
        )
        for value in ('["CMD-SHELL","a || b"]', '["a || b"]', "CMD-SHELL a || b", "cmd-shell a || b")
    ),
    ("a check in words", ["HealthCmd=CMD a  $$b"], ["--health-cmd", "CMD a  $b", "i"], ["--health-cmd", "'a' '$b'", "i"]),
    ("a list is words", ['HealthCmd=["a","b c"]'], ["--health-cmd", '["a","b c"]', "i"], ["--health-cmd", "'a' 'b c'", "i"]),
    *(
        (f"no check: {value}", [f"HealthCmd={value}"], ["--health-cmd", value, "i"], ["--no-healthcheck", "i"])
        for value in ("NONE", '["NONE"]', "None")
    ),
    ("no check", ["HealthCmd=none"], ["--health-cmd", "none", "i"], ["--no-healthcheck", "i"]),
    (
        "Podman makes writable folders by itself",
        ["ReadOnly=yes", "Tmpfs=/run:size=1m"],
        ["--read-only", "--tmpfs", "/run:size=1m", "i"],
        ["--read-only", "--tmpfs", f"/tmp:{WRITABLE}", "--tmpfs", f"/var/tmp:{WRITABLE}", "--tmpfs", "/run:size=1m", "i"],
    ),
    ("or not", ["ReadOnly=yes", "ReadOnlyTmpfs=no"], ["--read-only", "--read-only-tmpfs=false", "i"], ["--read-only", "i"]),
    (
        "a time zone",
        ["Timezone=Europe/Berlin"],
        ["--tz", "Europe/Berlin", "i"],
        ["--mount", "type=bind,source=/usr/share/zoneinfo/Europe/Berlin,target=/etc/localtime,readonly", "i"],
    ),
    ("nothing masked", ["Unmask=ALL"], ["--security-opt", "unmask=ALL", "i"], ["--security-opt", "systempaths=unconfined", "i"]),
    (
        "options of a network",
        ["Network=n:ip=1.2.3.4,alias=x,mac=02:00:00:00:00:01"],
        ["--network", "n:ip=1.2.3.4,alias=x,mac=02:00:00:00:00:01", "i"],
        ["--network", "name=n,ip=1.2.3.4,alias=x,mac-address=02:00:00:00:00:01", "i"],
    ),
    (
        "Docker is given a second network later",
        ["Network=n", "Network=m"],
        ["--network", "n", "--network", "m", "i"],
        ["--network", "n", "i"],
    ),
    ("arguments for podman are not for docker", ["PodmanArgs=--umask 22"], ["--umask", "22", "i"], ["i"]),
    ("options of volumes that Docker does not know are left out", ["Volume=v:/c:U,ro"], ["-v", "v:/c:U,ro", "i"], ["-v", "v:/c:ro", "i"]),
    ("users are mapped by Podman only", ["UserNS=host"], ["--userns", "host", "i"], ["--userns", "host", "i"]),
    (
        "startup checks are Podman's",
        ["HealthStartupCmd=x", "HealthOnFailure=kill"],
        ["--health-on-failure", "kill", "--health-startup-cmd", "x", "i"],
        ["i"],
    ),
    ("log drivers of Podman's own", ["LogDriver=passthrough"], ["--log-driver", "passthrough", "i"], ["i"]),
    ("images of another age", ["Pull=newer"], ["--pull", "newer", "i"], ["i"]),
    ("who updates images", ["AutoUpdate=registry"], ["i"], ["i"]),
]


@pytest.mark.parametrize(("sentence", "lines", "podman", "docker"), DIFFERENT, ids=[row[0] for row in DIFFERENT])
def test_where_they_differ(sentence: str, lines: Sequence[str], podman: list[str], docker: list[str]) -> None:
    assert (run(lines, "podman"), run(lines, "docker")) == (podman, docker), sentence


TAKEN = [
    "Tmpfs=/tmp/",
    "Volume=x:/tmp/",
    "Volume=/tmp",
    "Volume=x:/tmp:ro",
    *(f"Mount=type=tmpfs,{name}=/tmp" for name in ("target", "dst", "destination")),
    "Mount=type=bind,source=/a,target=/tmp/",
]


@pytest.mark.parametrize("line", TAKEN)
def test_docker_gets_no_writable_folder_where_something_is_mounted(line: str) -> None:
    made = run(["ReadOnly=yes", line], "docker")
    assert [word.partition(":")[0] for word in made if word.endswith(WRITABLE)] == ["/run", "/var/tmp"]


REFUSED: Sequence[tuple[str, str, EngineKind | None, str]] = [
    # sentence, lines below [Container], the engine that refuses (None: both), what it says
    ("a container needs an image", "Exec=a", None, "needs Image="),
    ("not two of them", "Image=i\nRootfs=/r", None, "exclude"),
    ("an image is no option", "Image=--privileged", None, "no name of an image"),
    ("nor are they built here", "Image=x.build", None, "not known here"),
    ("a name is no option", "Image=i\nContainerName=-v", None, "no name of a container"),
    ("a group needs a user", "Image=i\nGroup=1", None, "needs User="),
    ("paths beside the file are on no machine", "Image=i\nEnvironmentFile=env", None, "absolute"),
    ("neither are folders", "Image=i\nVolume=./data:/data", None, "absolute"),
    ("ports are numbers", "Image=i\nPublishPort=http", None, "no port"),
    ("yes or no", "Image=i\nReadOnly=ture", None, "neither yes nor no"),
    ("quotes are closed", "Image=i\nExec=a 'b", None, "open quote"),
    ("pods are not known", "Image=i\nPod=a.pod", None, "no pods"),
    ("the unit is named after its file", "Image=i\nServiceName=x", None, "named after its file"),
    ("Docker maps no users", "Image=i\nUIDMap=0:1:2", "docker", "for the whole daemon"),
    ("nor by a word", "Image=i\nUserNS=keep-id", "docker", "for the whole daemon"),
    ("Docker runs images", "Rootfs=/r", "docker", "images only"),
    ("Docker has no secrets", "Image=i\nSecret=s", "docker", "swarm"),
    ("Docker's mounts are of three types", "Image=i\nMount=type=image,source=a,dst=/a", "docker", "type image"),
    ("and know fewer options", "Image=i\nMount=type=bind,source=/a,dst=/a,relabel=shared", "docker", "'relabel'"),
    ("a check of nothing is none", "Image=i\nHealthCmd=CMD", "docker", "no command"),
    ("a mount is one line", 'Image=i\nMount="type=bind,source=/a\\n,dst=/b"', None, "no line of CSV"),
    ("nor has it a carriage return", 'Image=i\nMount="type=bind,\\rsource=/a"', None, "no line of CSV"),
    ("lists have a depth", "Image=i\nHealthCmd=" + "[" * 100_000, "docker", "too deeply"),
    ("so have entry points", "Image=i\nEntrypoint=" + "[" * 100_000, None, "too deeply"),
    ("a time has an end", "Image=i\nStopTimeout=" + "9" * 5000, None, "no number of seconds"),
    ("and is in digits", "Image=i\nStopTimeout=٣", None, "no number of seconds"),
    ("Docker connects to no second network by a MAC", "Image=i\nNetwork=a\nNetwork=b:mac=02:00:00:00:00:01", "docker", "first network"),
    ("systemd does not become another user", "Image=i\n[Service]\nUser=me", None, "write it in [Container]"),
    ("what is started is the container", "Image=i\n[Service]\nExecStart=/bin/true", None, "write Exec= in [Container]"),
    ("its type is given", "Image=i\n[Service]\nType=forking", None, "notify or oneshot"),
    ("processes are not left", "Image=i\n[Service]\nKillMode=none", None, "mixed or control-group"),
    ("systemd is as patient as the engine", "Image=i\nStopTimeout=20\n[Service]\nTimeoutStopSec=10", None, "shorter"),
    ("one file, one thing", "Image=i\n[Volume]\nDriver=local", None, "two files"),
]


@pytest.mark.parametrize(("sentence", "lines", "kind", "said"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_is_refused(sentence: str, lines: str, kind: EngineKind | None, said: str) -> None:
    for engine in ENGINES.values():
        text = f"[Container]\n{lines}\n"
        if kind in (None, engine.kind):
            with pytest.raises(InvalidUnit) as caught:
                translated(text, engine)
            assert said in str(caught.value), sentence
        else:
            assert translated(text, engine)


def test_podman_under_systemd_gets_the_service_that_quadlet_makes() -> None:
    text = translated(
        "[Unit]\nDescription=x\n[Container]\nImage=i\n[Service]\nRestart=always\n[Install]\nWantedBy=multi-user.target\n", PODMAN
    )
    file = parse(text)
    assert [file.last("Service", key) for key in ("Type", "NotifyAccess", "KillMode", "Delegate", "SyslogIdentifier", "Restart")] == [
        *("notify", "all", "mixed", "yes", "%N", "always"),
    ]
    assert file.values("Service", "Environment") == ("PODMAN_SYSTEMD_UNIT=%n",)
    assert argv(text, "ExecStop") == [["/usr/bin/podman", "rm", "-v", "-f", "-i", "systemd-web"]]
    assert file.values("Service", "ExecStopPost") == ("-/usr/bin/podman rm -v -f -i systemd-%N",)
    assert file.last("X-Container", "Image") == "i"
    assert file.values("Unit", "After") == ("network-online.target",)
    assert file.last("Install", "WantedBy") == "multi-user.target"


NOTIFY = [("conmon", ""), ("container", "Notify=yes"), ("healthy", "Notify=healthy\nHealthCmd=true")]


@pytest.mark.parametrize(("expected", "line"), NOTIFY)
def test_podman_tells_systemd_what_the_file_wants_it_to(expected: str, line: str) -> None:
    assert f"--sdnotify={expected}" in argv(translated(f"[Container]\nImage=i\n{line}\n", PODMAN), "ExecStart")[0]


@pytest.mark.parametrize("engine", [DOCKER, ATTACHED], ids=["docker", "podman without systemd"])
def test_other_containers_are_created_attached_to_and_cleared_away(engine: Engine) -> None:
    text = translated("[Container]\nImage=i\nContainerName=c\nNetwork=a\n", engine)
    program = engine.program
    assert argv(text, "ExecStart") == [[program, "start", "--attach", "c"]]
    clear, create = argv(text, "ExecStartPre")
    assert clear[0] == "/bin/sh"
    assert clear[3:] == ["c", program]
    assert create[3:7] == [program, "create", "--name", "c"]
    assert argv(text, "ExecStopPost") == [clear]
    assert argv(text, "ExecStop")[0][3:] == ["c", program]
    assert argv(text, "ExecStartPost")[0][3:] == ["c", program]
    assert parse(text).last("Service", "Type") == "exec"


def test_a_oneshot_is_not_waited_for_until_it_runs() -> None:
    text = translated("[Container]\nImage=i\n[Service]\nType=oneshot\n", DOCKER)
    assert parse(text).values("Service", "ExecStartPost") == ()
    assert parse(text).last("Service", "Type") == "oneshot"
    assert "-d" not in argv(translated("[Container]\nImage=i\n[Service]\nType=oneshot\n", PODMAN), "ExecStart")[0]


def test_docker_is_connected_to_further_networks_before_the_start() -> None:
    text = translated("[Container]\nImage=i\nNetwork=a\nNetwork=b:ip=1.2.3.4\nNetworkAlias=x\n", DOCKER)
    assert argv(text, "ExecStartPre")[2] == ["/usr/bin/docker", "network", "connect", "--ip", "1.2.3.4", "--alias", "x", "b", "systemd-web"]


def test_what_the_file_does_itself_comes_where_it_belongs() -> None:
    own = "\n".join(f"{key}=/bin/own" for key in ("ExecStartPre", "ExecStartPost", "ExecStop", "ExecStopPost"))
    text = translated(f"[Container]\nImage=i\n[Service]\n{own}\nSuccessExitStatus=9\n", DOCKER)
    first = {key: argv(text, key)[0][0] for key in ("ExecStartPre", "ExecStartPost", "ExecStop", "ExecStopPost")}
    assert first == {"ExecStartPre": "/bin/own", "ExecStartPost": "/bin/sh", "ExecStop": "/bin/own", "ExecStopPost": "/bin/own"}
    spec = service("web.service", parse(text), Specifiers(name="web.service"))
    assert spec.success_statuses == (9, 129, 130, 141, 143)


STOPPING: Sequence[tuple[str, str, str | None, tuple[int, ...]]] = [
    ("the engine's time is within systemd's", "", None, (129, 130, 141, 143)),
    ("a longer one lengthens it", "StopTimeout=300", "330", (129, 130, 141, 143)),
    ("a shorter one does not shorten it", "StopTimeout=5", "90", (129, 130, 141, 143)),
    ("the signal that stops it is a good end", "StopSignal=SIGQUIT", None, (129, 130, 131, 141, 143)),
]


@pytest.mark.parametrize(("sentence", "line", "timeout", "good"), STOPPING, ids=[row[0] for row in STOPPING])
def test_stopping(sentence: str, line: str, timeout: str | None, good: tuple[int, ...]) -> None:
    file = parse(translated(f"[Container]\nImage=i\n{line}\n", DOCKER))
    assert file.last("Service", "TimeoutStopSec") == timeout, sentence
    assert service("web.service", file, Specifiers(name="web.service")).success_statuses == good


def test_reloading_by_a_command_or_a_signal() -> None:
    command = translated("[Container]\nImage=i\nReloadCmd=a 'b c'\n", DOCKER)
    assert argv(command, "ExecReload") == [["/usr/bin/docker", "exec", "systemd-web", "a", "b c"]]
    number = translated("[Container]\nImage=i\nReloadSignal=SIGHUP\n", PODMAN)
    assert argv(number, "ExecReload") == [["/usr/bin/podman", "kill", "--signal", "SIGHUP", "systemd-web"]]


def test_instances_are_called_by_their_own_names() -> None:
    text = translated("[Container]\nImage=i:%i\n", DOCKER, "web@1.service")
    assert argv(text, "ExecStart", "web@1.service") == [["/usr/bin/docker", "start", "--attach", "systemd-web_1"]]
    assert argv(text, "ExecStartPre", "web@1.service")[1][-1] == "i:1"


def test_a_flag_that_the_engine_does_not_know_is_named_with_its_key() -> None:
    old = Engine("podman", "/usr/bin/podman", "4.3.1", "systemd", flags=frozenset({"--volume"}))
    assert translated("[Container]\nImage=i\nVolume=/a\n", old)
    with pytest.raises(InvalidUnit, match=r"HealthStartupCmd= needs --health-startup-cmd, which Podman 4\.3\.1"):
        translated("[Container]\nImage=i\nHealthStartupCmd=x\n", old)


# ------------------------------------------------------------------ volumes and networks

OTHERS = {"data-volume.service": "[Volume]\n", "named-volume.service": "[Volume]\nVolumeName=n\n", "app-network.service": "[Network]\n"}


@pytest.mark.parametrize("kind", ["docker", "podman"])
def test_references_become_names_and_requirements(kind: EngineKind) -> None:
    lines = ["Volume=data.volume:/a:ro", "Mount=type=volume,source=named.volume,dst=/b", "Network=app.network"]
    network, volume = ["--network", "systemd-app"], ["-v", "systemd-data:/a:ro"]
    assert run(lines, kind, others=OTHERS) == ["--mount", "type=volume,source=n,dst=/b", *network, *volume, "i"]
    file = parse(translated("\n".join(["[Container]", "Image=i", *lines, ""]), ENGINES[kind], others=OTHERS))
    units = ("data-volume.service", "app-network.service", "named-volume.service")
    assert file.values("Unit", "Requires") == units
    assert set(units) <= set(file.values("Unit", "After"))


def test_a_container_that_joins_anothers_network_runs_beside_it() -> None:
    text = "[Container]\nImage=i\nNetwork=db.container\n"
    others = {"db.service": "[Container]\nImage=d\nContainerName=d\n"}
    assert run(["Network=db.container"], "docker", others=others) == ["--network", "container:d", "i"]
    assert requirements("web.service", parse(text)).peers == ("db.service",)


@pytest.mark.parametrize("kind", ENGINES)
def test_template_volume_is_the_instances_own(kind: EngineKind) -> None:
    text = "[Unit]\nAfter=net@.network\n[Container]\nImage=i\nVolume=bar@.volume:/data\n"
    others = {"bar-volume@1.service": "[Volume]\n", "bar-volume@2.service": "[Volume]\n"}
    made = translated(text, ENGINES[kind], "bar@1.service", others)
    assert "systemd-bar-1:/data" in made
    assert parse(made).values("Unit", "Requires") == ("bar-volume@1.service",)
    assert "net-network@1.service" in parse(made).values("Unit", "After")
    assert requirements("bar@2.service", parse(text)).binds_to == ("bar-volume@2.service",)
    with pytest.raises(InvalidUnit, match=r"no bar-volume@3\.service is on this machine"):
        translated(text, ENGINES[kind], "bar@3.service", others)


def test_blank_after_a_backslash_continues_a_quadlet_line_and_no_other() -> None:
    quadlet = parse("[Container]\nImage=i\nExec=a \\ \n b\n")
    assert [(option.name, option.joined) for option in quadlet.options] == [("Image", "i"), ("Exec", "a   b")]
    assert len(parse("[Service]\nExecStart=/bin/a \\ \nUser=b\n").options) == 2


def test_what_is_not_on_the_machine_is_named() -> None:
    with pytest.raises(InvalidUnit, match=r"no data-volume\.service is on this machine"):
        translated("[Container]\nImage=i\nVolume=data.volume:/a\n", DOCKER)


RESOURCES: Sequence[tuple[str, str, list[str], list[str]]] = [
    # sentence, text, Podman's arguments, Docker's
    ("a volume", "[Volume]\n", ["volume", "create"], ["volume", "create"]),
    (
        "a volume of a device",
        "[Volume]\nDevice=tmpfs\nType=tmpfs\nOptions=size=1m\nUser=1\nGroup=2\nLabel=a=b",
        ["volume", "create", "--opt", "device=tmpfs", "--opt", "type=tmpfs", "--opt", "o=uid=1,gid=2,size=1m", "--label", "a=b"],
        ["volume", "create", "--opt", "device=tmpfs", "--opt", "type=tmpfs", "--opt", "o=uid=1,gid=2,size=1m", "--label", "a=b"],
    ),
    (
        "a network",
        "[Network]\nSubnet=10.1.0.0/16\nGateway=10.1.0.1\nIPRange=10.1.2.0/24\nDriver=bridge\nInternal=yes",
        [
            "network",
            "create",
            "--internal",
            "--driver",
            "bridge",
            "--subnet",
            "10.1.0.0/16",
            "--gateway",
            "10.1.0.1",
            "--ip-range",
            "10.1.2.0/24",
        ],
        [
            "network",
            "create",
            "--internal",
            "--driver",
            "bridge",
            "--subnet",
            "10.1.0.0/16",
            "--gateway",
            "10.1.0.1",
            "--ip-range",
            "10.1.2.0/24",
        ],
    ),
    (
        "its options have other names",
        "[Network]\nOptions=mtu=1400\nInterfaceName=br9\nDNS=1.1.1.1",
        ["network", "create", "--dns", "1.1.1.1", "--interface-name", "br9", "--opt", "mtu=1400"],
        ["network", "create", "--opt", "com.docker.network.bridge.name=br9", "--opt", "com.docker.network.driver.mtu=1400"],
    ),
]


@pytest.mark.parametrize(("sentence", "text", "podman", "docker"), RESOURCES, ids=[row[0] for row in RESOURCES])
def test_volumes_and_networks_are_made_if_they_are_not_there(sentence: str, text: str, podman: list[str], docker: list[str]) -> None:
    kind = kind_of(parse(text)).lower()
    for engine, expected in ((PODMAN, podman), (DOCKER, docker)):
        made = translated(text, engine, f"x-{kind}.service")
        (words,) = argv(made, "ExecStart")
        assert words[3:] == ["systemd-x", "1", kind, engine.program, *expected], sentence
        assert [parse(made).last("Service", key) for key in ("Type", "RemainAfterExit")] == ["oneshot", "yes"]


def test_the_owner_of_a_volume_is_a_number_of_a_user() -> None:
    for value in ("someone", "9" * 5000):
        with pytest.raises(InvalidUnit, match="of a volume is no number"):
            translated(f"[Volume]\nDevice=tmpfs\nType=tmpfs\nUser={value}\n", DOCKER, "x-volume.service")


def test_volumes_and_networks_are_wanted_everywhere_and_made_until_they_are() -> None:
    for text in ("[Volume]\n", "[Network]\nSubnet=10.1.0.0/16\n"):
        file = parse(text)
        assert requirements("x.service", file).everywhere
        assert (is_oneshot(file), remains_after_exit(file), restart_setting(file)) == (True, True, "on-failure")
    assert not requirements("x.service", parse("[Volume]\n[X-Fleet]\nMachineOf=web.service\n")).everywhere
    container = parse("[Container]\nImage=i\nVolume=d.volume:/d\n[Unit]\nBindsTo=db.container\n[Service]\nRestart=no\n")
    assert (is_oneshot(container), remains_after_exit(container), restart_setting(container)) == (False, False, "no")
    assert requirements("x.service", container).binds_to == ("db.service", "d-volume.service")


# ------------------------------------------------------------------ names and texts

NAMES = [
    ("web.container", "web.service"),
    ("web@.container", "web@.service"),
    ("web@1.container", "web@1.service"),
    ("data.volume", "data-volume.service"),
    ("data@.volume", "data-volume@.service"),
    ("app.network", "app-network.service"),
    ("web.service", "web.service"),
    (".container", ".container"),
    ("web", "web"),
]


@pytest.mark.parametrize(("file", "unit"), NAMES)
def test_the_unit_is_named_as_quadlet_names_it(file: str, unit: str) -> None:
    assert unit_name(file) == unit
    assert file == unit or file in file_names(unit)


def test_other_units_stay_as_they_are() -> None:
    text = "# a\n[Service]\nExecStart=/bin/true\n"
    assert translated(text, DOCKER) == text
    assert not looks_like_one(text)


def test_the_service_carries_the_hash_of_its_file_and_nobody_else_may() -> None:
    text = "# a comment\n[Container]\nImage=i\n"
    assert parse(translated(text, DOCKER)).hash == parse(translated(text, PODMAN)).hash == parse(text).hash
    with pytest.raises(InvalidUnit, match="X-Source"):
        validate("a.service", f"[Service]\nExecStart=/bin/true\n[X-Source]\nHash={'0' * 40}\n")


def test_a_volume_may_say_nothing_at_all() -> None:
    assert validate("data-volume.service", "[Volume]\n").kind == "Volume"
    with pytest.raises(InvalidUnit, match="no assignment"):
        validate("web.service", "[Container]\n")


def test_references_are_found_in_every_key() -> None:
    file = parse(
        "[Container]\nVolume=a.volume:/a\nVolume=/x.volume:/b\nMount=type=volume,src=b.volume\nNetwork=c.network:ip=1.2.3.4\nNetwork=host\n"
    )
    assert references(file) == ("a.volume", "c.network", "b.volume")


words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


@given(words)
def test_any_word_is_one_word_of_a_command_line(word: str) -> None:
    line = f"/bin/x {quoted(word.replace('%', '%%').replace('$', '$$'))}"
    (command,) = commands(line, Specifiers(name="web.service"))
    assert arguments(command, {}) == ["/bin/x", word]


@given(st.lists(words, max_size=4), st.sampled_from(["docker", "podman"]))
def test_any_argument_reaches_the_container_as_it_is(given_words: list[str], kind: EngineKind) -> None:
    line = " ".join(quoted(word.replace("%", "%%").replace("$", "$$")) for word in given_words)
    assert run([f"Exec={line}"], kind) == ["i", *given_words]


@given(words, st.sampled_from(["docker", "podman"]))
def test_any_value_is_one_argument(value: str, kind: EngineKind) -> None:
    text = quoted(f"KEY={value}".replace("%", "%%").replace("$", "$$"))
    assert run([f"Environment={text}"], kind) == ["--env", f"KEY={value}", "i"]


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60), st.sampled_from(["docker", "podman"]))
@example("\b\\", "docker")
def test_any_line_makes_a_service_or_is_refused(line: str, kind: EngineKind) -> None:
    text = f"[Container]\nImage=i\nExec={line}\nVolume={line}\nNetwork={line}\nMount={line}\nPublishPort={line}\n"
    try:
        made = translated(text, ENGINES[kind])
    except InvalidUnit:
        return
    file = parse(made)
    assert not file.errors
    assert len(file.values("Service", "ExecStart")) == 1
