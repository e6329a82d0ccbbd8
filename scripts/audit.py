"""Looks for known security advisories of the installed packages, with pip-audit.

pyproject.toml lists advisories that cannot be fixed, each with its reason. Exit 0: none found, or the service could not
be reached, which is printed. Exit 1: some found, or pip-audit failed.
"""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
UNREACHABLE = "not audited: the advisory service could not be reached"
# Errors of requests and of pip-audit when the service does not answer.
NO_CONNECTION = re.compile("ConnectionError|ConnectTimeout|ReadTimeout|ProxyError|SSLError|Could not connect")


@dataclass(frozen=True)
class Verdict:
    lines: list[str]
    code: int


def judge(report: Mapping[str, Any], ignored: Mapping[str, str]) -> Verdict:  # Any: json's own types
    """From pip-audit's JSON. Ignoring any of an advisory's names ignores it."""
    packages = report["dependencies"]
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    if len(skipped) == len(packages):
        return Verdict([f"{UNREACHABLE} ({len(packages)} packages)"], 0)
    advisories, passed, seen = [], [], set()
    for package in packages:
        for advisory in package.get("vulns", []):
            names = [advisory["id"], *advisory.get("aliases", [])]
            where = f"{package['name']} {package['version']}: {', '.join(names)}"
            if reasons := [ignored[name] for name in names if name in ignored]:
                seen.update(names)
                passed.append(f"ignored: {where}: {reasons[0]}")
            else:
                fixes = ", ".join(advisory.get("fix_versions", [])) or "no version yet"
                advisories.append(f"FOUND: {where}; fixed by {fixes}")
    lines = [*advisories, *passed]
    lines += [f"not reported, though pyproject.toml ignores it: {name}" for name in ignored if name not in seen]
    lines += [f"not looked up: {', '.join(skipped)}"] if skipped else []
    lines.append(
        f"{len(packages) - len(skipped)} packages audited, {len(advisories)} advisories found, {len(passed)} ignored"
    )
    return Verdict(lines, 1 if advisories else 0)


def judge_failure(stderr: str) -> Verdict:
    """For a pip-audit that ended without a report."""
    last = (stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]
    if NO_CONNECTION.search(stderr):
        return Verdict([f"{UNREACHABLE} ({last[:200]})"], 0)
    return Verdict([f"pip-audit failed: {last}"], 1)


def read_ignored(pyproject: str) -> dict[str, str]:
    return dict(tomllib.loads(pyproject).get("tool", {}).get("audit", {}).get("ignored", {}))


def list_installed() -> list[str]:
    """As requirements, without our own package. Advisories name torch 2.13.0+cpu as 2.13.0."""
    own = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["name"]
    versions = {package.name: package.version.partition("+")[0] for package in distributions() if package.name != own}
    return [f"{name}=={version}" for name, version in sorted(versions.items())]


def run_pip_audit(requirements: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "requirements.txt"
        file.write_text("\n".join(requirements))
        options = ["--no-deps", "--disable-pip", "--format=json", "--progress-spinner=off"]
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(file), *options]
        return subprocess.run(command, capture_output=True, text=True, check=False)


def main() -> int:
    ignored = read_ignored((PROJECT / "pyproject.toml").read_text())
    result = run_pip_audit(list_installed())
    verdict = judge(json.loads(result.stdout), ignored) if result.stdout else judge_failure(result.stderr)
    print("\n".join(verdict.lines))
    return verdict.code


if __name__ == "__main__":
    sys.exit(main())
