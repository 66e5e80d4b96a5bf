"""The README and the command line say the same."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from missioncontrol_nb.cli import COMMANDS, group

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_a_mention_in_the_readme(name):
    result = CliRunner().invoke(group, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert len(result.output.splitlines()) > 5
    assert f"missioncontrol {name}" in README


def test_every_picture_and_page_the_readme_points_to_is_there():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.stem)
def test_every_page_is_whole_and_points_to_what_is_there(page):
    text = page.read_text()
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^):]+)\)", text)]
    assert [link for link in links if link and not (page.parent / link).exists()] == []
    assert re.findall("@[A-Z_]+@", text + README) == []


def test_readme_opens_with_a_picture_and_the_two_commands():
    opening = README.split("\n## ")[0]
    assert "![" in opening
    assert "make demo" in opening
    assert "make test" in opening
