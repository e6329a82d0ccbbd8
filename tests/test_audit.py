"""What scripts/audit.py makes of pip-audit's reports; the advisory service itself is not asked."""

import re
from types import ModuleType
from typing import Any

import pytest

from tests import PROJECT
from tests.loading import load_file

MARKUP = {"name": "markup", "version": "1.0", "vulns": []}
SKIPPED = {"name": "torch", "skip_reason": "Dependency not found on PyPI and could not be audited: torch (2.13.0)"}
HOLE = {"id": "PYSEC-2030-1", "aliases": ["CVE-2030-7"], "fix_versions": ["1.1"], "description": "a hole"}
HOLED = {"name": "markup", "version": "1.0", "vulns": [HOLE]}


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    return load_file(PROJECT / "scripts" / "audit.py")


@pytest.mark.parametrize(
    ("packages", "ignored", "code", "lines"),
    [
        ([MARKUP], {}, 0, ["1 packages audited, 0 advisories found, 0 ignored"]),
        ([SKIPPED], {}, 0, ["not audited: the advisory service could not be reached (1 packages)"]),
        ([], {}, 0, ["not audited: the advisory service could not be reached (0 packages)"]),
        (
            [HOLED, SKIPPED], {}, 1,
            [
                "FOUND: markup 1.0: PYSEC-2030-1, CVE-2030-7; fixed by 1.1",
                "not looked up: torch",
                "1 packages audited, 1 advisories found, 0 ignored",
            ],
        ),
        (
            [HOLED], {"CVE-2030-7": "We never call it."}, 0,
            [
                "ignored: markup 1.0: PYSEC-2030-1, CVE-2030-7: We never call it.",
                "1 packages audited, 0 advisories found, 1 ignored",
            ],
        ),
        (
            [{**HOLED, "vulns": [{"id": "X", "fix_versions": []}]}], {"CVE-2030-7": "We never call it."}, 1,
            [
                "FOUND: markup 1.0: X; fixed by no version yet",
                "not reported, though pyproject.toml ignores it: CVE-2030-7",
                "1 packages audited, 1 advisories found, 0 ignored",
            ],
        ),
    ],
)  # fmt: skip
def test_verdict_of_a_report(
    audit: ModuleType, packages: list[Any], ignored: dict[str, str], code: int, lines: list[str]
) -> None:
    verdict = audit.judge({"dependencies": packages, "fixes": []}, ignored)
    assert (verdict.code, verdict.lines) == (code, lines)


@pytest.mark.parametrize(
    ("stderr", "code", "line"),
    [
        (
            "Traceback ...\nrequests.exceptions.ConnectionError: Max retries exceeded\n", 0,
            "not audited: the advisory service could not be reached "
            "(requests.exceptions.ConnectionError: Max retries exceeded)",
        ),
        ("No module named pip_audit\n", 1, "pip-audit failed: No module named pip_audit"),
        ("", 1, "pip-audit failed: pip-audit said nothing"),
    ],
)  # fmt: skip
def test_no_report_is_a_failure_but_where_nobody_could_be_reached(
    audit: ModuleType, stderr: str, code: int, line: str
) -> None:
    verdict = audit.judge_failure(stderr)
    assert (verdict.code, verdict.lines) == (code, [line])


def test_what_is_installed_is_asked_for_by_public_versions(audit: ModuleType) -> None:
    installed = audit.list_installed()
    assert any(requirement.startswith("torch==") for requirement in installed)
    assert [name for name in installed if "+" in name or name.startswith("website-traffic-forecasting")] == []


def test_every_ignored_advisory_says_why(audit: ModuleType) -> None:
    ignored = audit.read_ignored((PROJECT / "pyproject.toml").read_text())
    assert all(re.fullmatch(r"(GHSA|CVE|PYSEC)-[\w-]+", name) and len(why) > 40 for name, why in ignored.items())
