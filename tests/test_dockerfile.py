"""The Dockerfile, by reading only: nothing here can build it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from edgeprune.toml_files import parse_toml

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    text = (ROOT / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [
        (word, rest.strip())
        for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)
    ]


def stages(instructions: list[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    starts = [i for i, (word, _) in enumerate(instructions) if word == "FROM"]
    return [
        instructions[a:b] for a, b in zip(starts, [*starts[1:], len(instructions)], strict=True)
    ]


def test_every_instruction_is_one(instructions: list[tuple[str, str]]) -> None:
    known = {"ARG", "FROM", "RUN", "COPY", "ENV", "USER", "WORKDIR", "ENTRYPOINT"}
    assert {word for word, _ in instructions} <= known


def test_the_base_image_is_chosen_by_an_argument(instructions: list[tuple[str, str]]) -> None:
    assert instructions[0] == ("ARG", "BASE=python:3.12-slim")
    first, last = stages(instructions)
    assert first[0] == ("FROM", "python:3.12-slim AS wheel")
    assert last[0] == ("FROM", "${BASE}")
    arguments = dict(rest.split("=", 1) for word, rest in last if word == "ARG")
    assert arguments == {"EXTRAS": "demo", "TORCH": "pip", "INDEX": ""}
    extras = parse_toml((ROOT / "pyproject.toml").read_text(), "pyproject.toml")["project"][
        "optional-dependencies"
    ]
    assert arguments["EXTRAS"] in extras


def test_the_wheel_is_built_in_one_stage_and_installed_in_the_other(
    instructions: list[tuple[str, str]],
) -> None:
    first, last = stages(instructions)
    assert ("RUN", "python -m build --wheel --outdir /wheels") in first
    assert ("COPY", "--from=wheel /wheels /wheels") in last
    # The sources stay behind.
    assert [rest for word, rest in last if word == "COPY"] == ["--from=wheel /wheels /wheels"]


def test_the_torch_of_the_base_image_is_pinned(instructions: list[tuple[str, str]]) -> None:
    (install,) = [rest for word, rest in stages(instructions)[1] if "pip install" in rest]
    assert "pip list --format=freeze" in install
    assert install.index("> /pins") < install.index("pip install")
    assert "--constraint /pins" in install


def test_it_runs_edgeprune_without_rights(instructions: list[tuple[str, str]]) -> None:
    _, last = stages(instructions)
    words = [word for word, _ in last]
    users = [rest for word, rest in last if word == "USER"]
    assert users == ["edgeprune"]
    assert ("RUN", "useradd --create-home edgeprune") in last
    # Nothing is run or copied as root after the switch.
    assert set(words[words.index("USER") + 1 :]) == {"WORKDIR", "ENTRYPOINT"}
    assert json.loads(dict(last)["ENTRYPOINT"]) == ["edgeprune"]


def test_what_the_wheel_needs_is_sent_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    project = parse_toml((ROOT / "pyproject.toml").read_text(), "pyproject.toml")
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {
        "pyproject.toml",
        project["project"]["readme"],
        *project["project"]["license-files"],
        *wheel["packages"],
        *wheel["force-include"],
    }
    assert "*" in lines
    assert allowed == needed


def test_the_documentation_names_every_argument_and_that_it_was_never_built() -> None:
    document = (ROOT / "docs" / "docker.md").read_text()
    for name in ("BASE", "EXTRAS", "TORCH", "INDEX"):
        assert f"| `{name}` |" in document
    assert "never been built" in document
    assert "Never built" in (ROOT / "Dockerfile").read_text()
