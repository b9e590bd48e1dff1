"""The documentation, executed: links lead somewhere, and every verb, setting, error and port is told of."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from argosy import __version__
from argosy.cli.main import VERBS, cli
from argosy.config import Config, load

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_page_is_listed() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "index.md" or f"({page.name})" in index, f"docs/index.md does not list {page.name}"


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_has_help_and_a_row(verb: str) -> None:
    result = CliRunner().invoke(cli, [verb, "--help"])
    assert result.exit_code == 0, result.output
    assert len(result.output.splitlines()) > 3
    assert re.search(rf"\b{verb}\b", (ROOT / "docs" / "cli.md").read_text()), f"docs/cli.md does not tell of {verb}"


def test_a_mistyped_verb_gets_a_suggestion() -> None:
    result = CliRunner().invoke(cli, ["list-unit"])
    assert result.exit_code == 2
    assert "Did you mean list-units?" in result.output


def test_every_setting_is_told_of() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    for section in msgspec.structs.fields(Config):
        assert f"[{section.name}]" in page
        for field in msgspec.structs.fields(section.type):
            assert f"`{field.name}`" in page, f"docs/configuration.md does not tell of [{section.name}] {field.name}"


def test_defaults_of_settings_are_written_as_the_file_takes_them() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    compared = 0
    for heading, rows in re.findall(r"^\| \*\*\[(\w+)\]\*\*.*\n((?:\| `.*\n)*)", page, re.MULTILINE):
        section = next(field.type for field in msgspec.structs.fields(Config) if field.name == heading)
        defaults = {field.name: "" if field.default is msgspec.NODEFAULT else field.default for field in msgspec.structs.fields(section)}
        for name, shown in re.findall(r"^\| `(\w+)` \| `([^`|]+)` \|", rows, re.MULTILINE):
            if defaults[name] not in ("", None):
                value = tomllib.loads(f"it = {shown}")["it"]
                assert (tuple(value) if isinstance(value, list) else value) == defaults[name], f"[{heading}] {name} = {shown}"
                compared += 1
    assert compared > 20


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_of_configuration_can_be_loaded(page: Path, tmp_path: Path) -> None:
    names = {field.name for field in msgspec.structs.fields(Config)}
    for block in re.findall(r"(?:^    .*\n)+", page.read_text(), re.MULTILINE):
        if re.match(r" +\[(\w+)\]", block) and {*re.findall(r"^    \[(\w+)\]", block, re.MULTILINE)} <= names:
            (tmp_path / "argosy.toml").write_text(block)
            load(str(tmp_path / "argosy.toml"), {})


def test_the_readmes_commands_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    readme = (ROOT / "README.md").read_text()
    for target in set(re.findall(r"^    make ([a-z-]+)", readme, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"the README says make {target}"
    for verb in set(re.findall(r"^    (?:\.venv/bin/)?argosy ([a-z-]+)", readme, re.MULTILINE)):
        assert verb in VERBS, f"the README says argosy {verb}"


def test_the_version_is_the_same_everywhere() -> None:
    assert f'version = "{__version__}"' in (ROOT / "pyproject.toml").read_text()


def test_every_decision_says_context_decision_and_consequences() -> None:
    records = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert records
    for record in records:
        text = record.read_text()
        assert re.match(r"\d{4}-[a-z0-9-]+\.md", record.name)
        for heading in ("Context", "Decision", "Consequences"):
            assert re.search(rf"^#+ {heading}", text, re.MULTILINE), f"{record.name} has no {heading}"
