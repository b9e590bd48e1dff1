"""What is said of Quadlet files: by `argosy verify`, by the page about them, and when one is submitted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from argosy.cli.files import given, with_needed
from argosy.errors import InvalidUnit
from argosy.unit.parse import parse
from argosy.unit.quadlet.keys import KEYS, Ignored, Refused, Way
from argosy.unit.quadlet.names import unit_name
from argosy.unit.validate import validate
from argosy.unit.verify import verify

PAGE = Path(__file__).parents[2] / "docs" / "quadlet.md"

SAID: Sequence[tuple[str, str, str, list[tuple[int, str, str]]]] = [
    # sentence, file, text, (line, severity, part of the message)
    ("nothing of a good one", "web.container", "[Container]\nImage=i\n", []),
    ("a volume may be empty", "data.volume", "[Volume]\n", []),
    ("as Podman has it, with nothing at all in it", "data.volume", "", []),
    ("a network too", "app.network", "# nothing\n", []),
    ("or with another section only", "data.volume", "[Unit]\nDescription=x\n", []),
    ("a container may not", "web.container", "", [(0, "error", "is empty"), (0, "error", "needs a [Container] section")]),
    ("a blank after the backslash", "a.container", "[Container]\nImage=i\nExec=a \\ \n  b\n", []),
    (
        "a word that lost its quotes",
        "a.container",
        "[Container]\nImage=i\nEnvironment=A=b c\n",
        [(3, "warning", "'c' is a word of its own")],
    ),
    ("the same in a label", "a.container", "[Container]\nImage=i\nLabel=A=b c\n", [(3, "warning", 'quote the whole pair: "A=b c"')]),
    ("a variable that is passed on", "a.container", "[Container]\nImage=i\nEnvironment=HOME\n", []),
    ("a shell's operator", "a.container", "[Container]\nImage=i\nExec=a && b\n", [(3, "warning", "'&&' reaches the program")]),
    ("a command in a variable", "a.container", "[Container]\nImage=i\nEnvironment=A=$(id)\n", [(3, "warning", "no shell runs it")]),
    ("a template's volume", "a@.container", "[Container]\nImage=i\nVolume=d@.volume:/d\n", []),
    ("without an instance", "a.container", "[Container]\nImage=i\nVolume=d@.volume:/d\n", [(3, "error", "'d@.volume' is a template")]),
    ("a key that nobody knows", "web.container", "[Container]\nImage=i\nEnviroment=A=1\n", [(3, "error", "did you mean Environment=?")]),
    ("a key of another file", "web.container", "[Container]\nImage=i\nSubnet=1\n", [(3, "error", "belongs in [Network]")]),
    ("the wrong section", "web.volume", "[Container]\nImage=i\n", [(0, "error", "needs a [Volume] section")]),
    ("a kind that is not known", "web.pod", "[Pod]\nPodName=x\n", [(0, "error", ".pod files are not known here")]),
    ("a bad value, with its line", "a.container", "[Container]\nImage=i\nReadOnly=hm\n", [(3, "error", "neither yes nor no")]),
    ("what Docker leaves out", "a.container", "[Container]\nImage=i\nHealthOnFailure=kill\n", [(3, "warning", "not honoured on Docker:")]),
    ("what Docker refuses", "a.container", "[Container]\nImage=i\nUIDMap=0:1:2\n", [(3, "warning", "refused on Docker")]),
    ("what nobody does", "a.container", "[Container]\nImage=i\nAutoUpdate=registry\n", [(3, "warning", "on Docker and Podman")]),
    ("what nobody runs", "a.container", "[Container]\nImage=i\nPod=x.pod\n", [(3, "error", "no pods")]),
    (
        "the lines of [Service] too",
        "a.container",
        "[Container]\nImage=i\n[Service]\nRestat=1\n",
        [(4, "warning", "did you mean Restart=?")],
    ),
    (
        "names of files in [X-Fleet]",
        "a.container",
        "[Container]\nImage=i\n[X-Fleet]\nMachineOf=b.container\n",
        [(4, "warning", "b.service")],
    ),
    ("a specifier that is none", "a.container", "[Container]\nImage=i\nExec=%z\n", [(0, "error", "unknown specifier %z")]),
]


@pytest.mark.parametrize(("sentence", "file", "text", "expected"), SAID, ids=[row[0] for row in SAID])
def test_what_verify_says(sentence: str, file: str, text: str, expected: list[tuple[int, str, str]]) -> None:
    found = verify(file, text)
    assert [(problem.line, problem.severity) for problem in found] == [(line, severity) for line, severity, _ in expected], found
    assert all(part in problem.message for problem, (_, _, part) in zip(found, expected, strict=True)), sentence


@pytest.mark.parametrize(("sentence", "file", "text", "expected"), SAID, ids=[row[0] for row in SAID])
def test_what_verify_calls_an_error_of_the_quadlet_part_is_not_taken(
    sentence: str, file: str, text: str, expected: list[tuple[int, str, str]]
) -> None:
    if file.endswith((".pod", ".volume", ".network")) or "%z" in text or not text:
        return  # told by the name of the file, or left to the machine
    if any(severity == "error" for _, severity, _ in expected):
        with pytest.raises(InvalidUnit, match=f"line {expected[0][0]}"):
            validate(unit_name(file), text)
    else:
        assert validate(unit_name(file), text).text == text, sentence


def told(way: Way) -> str:
    if isinstance(way, Refused):
        return f"**refused**: {way.why}"
    if isinstance(way, Ignored):
        return f"no: {way.why}"
    return f"`{way}`" if way.startswith("-") or way.endswith("=") else way


def test_the_page_shows_every_key_as_the_code_has_it() -> None:
    page = PAGE.read_text()
    for section, keys in KEYS.items():
        table = page.partition(f"### [{section}]\n")[2].partition("\n### ")[0]
        rows = [line for line in table.splitlines() if line.startswith("| `")]
        assert rows == [f"| `{key.name}` | {told(key.podman)} | {told(key.docker)} | {key.note} |" for key in keys.values()]


def test_the_page_links_to_what_it_names() -> None:
    assert not [target for target in re.findall(r"\]\(([^)]+)\)", PAGE.read_text()) if not (PAGE.parent / target).exists()]


# ------------------------------------------------------------------ files as people name them


def test_a_quadlet_file_is_found_by_its_name_and_by_its_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("web.container").write_text("[Container]\nImage=i\n")
    Path("app@.container").write_text("[Container]\nImage=t\n")
    Path("data.volume").write_text("[Volume]\n")
    found = given(["web.container", "app@1.container", "app@2", "data-volume"])
    assert [(one.name, one.path, one.template) for one in found] == [
        ("web.service", "web.container", ""),
        ("app@1.service", "app@.container", "app@.service"),
        ("app@2.service", "app@.container", "app@.service"),
        ("data-volume.service", "data.volume", ""),
    ]


def test_a_unit_file_comes_before_a_quadlet_file_unless_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "web.container").write_text("[Container]\nImage=i\n")
    (tmp_path / "web.service").write_text("[Service]\nExecStart=/bin/true\n")
    assert [given([f"{tmp_path}/{word}"])[0].path.rpartition("/")[2] for word in ("web", "web.service", "web.container")] == [
        *("web.service", "web.service", "web.container"),
    ]


def test_volumes_and_networks_come_before_the_container_that_needs_them(tmp_path: Path) -> None:
    (tmp_path / "web.container").write_text("[Container]\nImage=i\nVolume=data.volume:/d\nNetwork=app.network\n")
    (tmp_path / "data.volume").write_text("[Volume]\n")
    found = with_needed(given([f"{tmp_path}/web.container"]))
    assert [(one.name, one.file is not None) for one in found] == [
        ("data-volume.service", True),
        ("app-network.service", False),
        ("web.service", True),
    ]


def test_template_volume_means_one_volume_for_each_instance(tmp_path: Path) -> None:
    (tmp_path / "bar@.container").write_text("[Container]\nImage=i\nVolume=bar@.volume:/data\n")
    (tmp_path / "bar@.volume").write_text("")
    found = with_needed(given([f"{tmp_path}/bar@1.container", f"{tmp_path}/bar@2.container"]))
    assert [(one.name, one.template) for one in found] == [
        ("bar-volume@1.service", "bar-volume@.service"),
        ("bar@1.service", "bar@.service"),
        ("bar-volume@2.service", "bar-volume@.service"),
        ("bar@2.service", "bar@.service"),
    ]
    volume = found[0].file
    assert volume is not None
    assert volume.text == "[Volume]\n"


def test_file_of_a_kind_that_is_not_known_is_refused_by_its_kind(tmp_path: Path) -> None:
    (tmp_path / "x.pod").write_text("[Pod]\n")
    with pytest.raises(InvalidUnit, match=r"\.pod files are not known here"):
        given([f"{tmp_path}/x.pod"])


DROPINS: Sequence[tuple[str, str, str, dict[str, str], list[str]]] = [
    # sentence, file, unit that is named, drop-ins, values of Environment= in [Service] in the end
    ("one", "web.service", "web.service", {"web.service.d/a.conf": "B"}, ["A", "B"]),
    ("several, by name", "web.service", "web.service", {"web.service.d/2.conf": "2", "web.service.d/1.conf": "1"}, ["A", "1", "2"]),
    ("only .conf counts", "web.service", "web.service", {"web.service.d/a.conf~": "B"}, ["A"]),
    ("of the template and of the instance", "web@.service", "web@1.service", {"web@.service.d/1.conf": "1", "web@1.service.d/2.conf": "2"},
     ["A", "1", "2"]),
    ("the more specific of one name", "web@.service", "web@1.service", {"web@.service.d/1.conf": "1", "web@1.service.d/1.conf": "2"},
     ["A", "2"]),
    ("not of another instance", "web@.service", "web@1.service", {"web@2.service.d/1.conf": "1"}, ["A"]),
    ("of the name up to a dash", "web-app.service", "web-app.service", {"web-.service.d/1.conf": "1"}, ["A", "1"]),
    ("of all services", "web.service", "web.service", {"service.d/1.conf": "1"}, ["A", "1"]),
    ("of a container", "web.container", "web.container", {"web.container.d/1.conf": "1"}, ["A", "1"]),
    ("first the container's", "web.container", "web.container", {"web.service.d/0.conf": "0", "web.container.d/1.conf": "1"},
     ["A", "1", "0"]),
    ("of an instance of a container", "web@.container", "web@1.container", {"web@1.container.d/1.conf": "1"}, ["A", "1"]),
]  # fmt: skip


@pytest.mark.parametrize(("sentence", "file", "unit", "dropins", "expected"), DROPINS, ids=[row[0] for row in DROPINS])
def test_dropins_become_part_of_the_text(
    sentence: str, file: str, unit: str, dropins: dict[str, str], expected: list[str], tmp_path: Path
) -> None:
    kind = "[Container]\nImage=i\n" if ".container" in file else "[Service]\nExecStart=/bin/true\n"
    (tmp_path / file).write_text(f"{kind}[Service]\nEnvironment=A=1\n")
    for path, value in dropins.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(f"[Service]\nEnvironment={value}=1\n")
    (one,) = given([f"{tmp_path}/{unit}"])
    assert one.file is not None
    assert [value.removesuffix("=1") for value in one.file.assignments("Service", "Environment")] == expected


def test_dropin_does_not_continue_the_last_line_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.service").write_text("[Service]\nExecStart=/bin/echo \\")
    (tmp_path / "a.service.d").mkdir()
    (tmp_path / "a.service.d" / "x.conf").write_text("[Service]\nUser=me\n")
    (one,) = given([f"{tmp_path}/a.service"])
    assert one.file is not None
    assert (one.file.values("Service", "ExecStart"), one.file.last("Service", "User")) == (("/bin/echo",), "me")


BAD_DROPINS: Sequence[tuple[str, bytes, str]] = [
    ("an assignment in no section", b"User=me\n", r"a\.service\.d/x\.conf: line 1: an assignment before any section header"),
    ("no text", b"\xff", r"a\.service\.d/x\.conf: line 1: byte 0xff is not UTF-8"),
]


@pytest.mark.parametrize(("sentence", "content", "said"), BAD_DROPINS, ids=[row[0] for row in BAD_DROPINS])
def test_dropin_that_cannot_be_merged_is_refused_by_name(sentence: str, content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.service").write_text("[Service]\nExecStart=/bin/true\n")
    (tmp_path / "a.service.d").mkdir()
    (tmp_path / "a.service.d" / "x.conf").write_bytes(content)
    with pytest.raises(InvalidUnit, match=said):
        given([f"{tmp_path}/a.service"])


def test_the_file_itself_is_what_is_sent(tmp_path: Path) -> None:
    text = "# mine\n[Container]\nImage = i\n"
    (tmp_path / "web.container").write_text(text)
    (one,) = given([f"{tmp_path}/web.container"])
    assert one.file is not None
    assert one.file.text == text
    assert one.file.hash == parse(text).hash
