"""What the READMEs say is what the code has: links, files, settings, flags, variables, figures."""

import ast
import errno
import os
import re
import struct
from functools import cache
from pathlib import Path

import pytest

from forecasting.commands import forecast, train
from forecasting.commands.entry_point import COMMANDS
from forecasting.settings.keys import list_settings
from tests import PROJECT

README = PROJECT / "README.md"
FOLDERS = ("forecasting", "scripts", "configs", "model_store", ".github")
DOCUMENTS = [README, *sorted(file for name in FOLDERS for file in (PROJECT / name).rglob("*.md"))]
CHAPTERS = (
    "Quick start", "Usage", "Routes", "Architecture", "Training process", "Metrics", "Configuration", "Development",
    "Monitoring", "Troubleshooting", "Contributing", "License",
)  # fmt: skip
VARIABLES = (
    "DB_HOST", "DB_PORT", "DB_NAME", "DB_USER", "DB_PASSWORD", "SOURCE_URL", "CACHE_URL", "MODEL_DIR", "MODEL_VERSION",
    "PORT", "API_KEYS", "DEBUG", "TRAFFIC_PGDATA", "TRAFFIC_FORECASTER_HOME", "JAVA_HOME",
)  # fmt: skip
SECTIONS = {key.partition(".")[0] for key, _, _ in list_settings() if "." in key}
MAX_IMAGE_BYTES = 120_000
MAX_LINES, MAX_LENGTH = 200, 120  # of README.md

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: str(file.relative_to(PROJECT)))


def find_chapters(text: str) -> list[str]:
    """Headings outside code."""
    return re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)


def find_anchors(document: Path) -> set[str]:
    """As GitHub makes them from headings."""
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in find_chapters(document.read_text())}


def test_every_documented_chapter_is_there() -> None:
    assert set(CHAPTERS) - set(find_chapters(README.read_text())) == set()


def test_it_is_short() -> None:
    lines = README.read_text().splitlines()
    assert len(lines) <= MAX_LINES
    assert [line for line in lines if len(line) > MAX_LENGTH] == []


@each_document
def test_prose_wraps(document: Path) -> None:
    """Tables and printed lines may be longer."""
    if document.name == "EXPERIMENTS.md":
        return
    prose = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL).splitlines()
    assert [line for line in prose if len(line) > MAX_LENGTH and not line.startswith("|")] == []


def test_documents_are_found() -> None:
    names = {str(document.relative_to(PROJECT)) for document in DOCUMENTS}
    assert {"README.md", "forecasting/serving/README.md", "scripts/bench/README.md", ".github/CONTRIBUTING.md"} <= names


@each_document
def test_every_link_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", document.read_text())
    for link in links:
        name, _, anchor = link.partition("#")
        if name.startswith(("http:", "https:")):
            continue
        target = document.parent / name if name else document
        assert target.exists(), link
        assert not anchor or anchor in find_anchors(target), link


@each_document
def test_every_file_it_names_exists(document: Path) -> None:
    """In full, or from the document's own folder."""
    named = re.findall(r"(?<![\w./-])((?:forecasting|handlers|configs|scripts|tests)/[\w/.-]+\w)", document.read_text())
    assert {name for name in named if not (PROJECT / name).exists() and not (document.parent / name).exists()} == set()


@each_document
def test_every_setting_it_names_exists(document: Path) -> None:
    of_metrics = {"metrics.bounce_rate.unit", "metrics.page_visits.additive", "metrics.signups.additive"}
    keys = {key for key, _, _ in list_settings()} | of_metrics
    pattern = rf"(?<![\w./-])((?:{'|'.join(sorted(SECTIONS))})\.[a-z_]+(?:\.[a-z]+)?)(?=[=`]|\s*\()"
    named = {key for key in re.findall(pattern, document.read_text()) if not key.endswith((".py", ".json", ".log"))}
    assert named - keys - {"forecasting.daily"} == set()


@each_document
def test_every_command_it_names_exists(document: Path) -> None:
    text = document.read_text()
    assert set(re.findall(r"traffic-forecast ([a-z]+)", text)) - set(COMMANDS) == set()
    targets = set(re.findall(r"^([a-z]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z]+)(?:`| +#| PYTEST)", text, re.MULTILINE)) - targets == set()


def test_flags_tables_are_the_codes() -> None:
    commands = (PROJECT / "scripts" / "README.md").read_text()
    assert train.COMMAND.flags_table() in commands
    assert forecast.COMMAND.flags_table() in commands


def test_every_variable_is_named() -> None:
    configuration, example = (PROJECT / "configs" / "README.md").read_text(), (PROJECT / "env.example").read_text()
    for name in VARIABLES:
        assert f"`{name}`" in configuration
        assert f"# {name}=" in example


def test_images_are_small_plots() -> None:
    images = [README.parent / name for name in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README.read_text())]
    assert images
    for image in images:
        content = image.read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) < MAX_IMAGE_BYTES
        width, height = struct.unpack(">II", content[16:24])
        assert width > height > 300


def test_accuracy_is_the_one_that_training_measured() -> None:
    """Every figure of README's table stands in training's, which says how it was measured."""
    accuracy = README.read_text().partition("## Accuracy\n")[2].partition("\n## ")[0]
    figures = re.findall(r"\b\d\.\d{3}\b|\b\d+%", "\n".join(re.findall(r"^\| (?!data).*", accuracy, re.MULTILINE)))
    measured = (PROJECT / "forecasting" / "training" / "README.md").read_text()
    assert len(figures) > 10
    assert {figure for figure in figures if figure not in measured} == set()


@each_document
def test_messages_of_troubleshooting_are_those_of_the_code(document: Path) -> None:
    """Between `...` and numbers, they are parts of string constants."""
    tables = re.findall(r"^\| what you see .*\n\| --- .*\n((?:\|.*\n)+)", document.read_text(), re.MULTILINE)
    shown = [text for table in tables for text in re.findall(r"^\| `([^`/]+)`", table, re.MULTILINE)]
    parts = [part.strip() for text in shown for part in re.split(r"\.\.\.|\d+", text)]
    assert document != README or len(parts) > 3
    texts = read_string_constants()
    assert {part for part in parts if part not in texts} == set()


@cache
def read_string_constants() -> str:
    modules = [ast.parse(file.read_text()) for file in (PROJECT / "forecasting").rglob("*.py")]
    nodes = [node for module in modules for node in ast.walk(module)]
    constants = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return "\n".join([*constants, os.strerror(errno.EADDRINUSE)])
