"""Known advisories of what is installed, by pip-audit. pyproject.toml has those that cannot be fixed, each with why.

Exit 0: nothing found, or nothing could be looked up, which it says; 1: found, or pip-audit failed.
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
# What pip-audit ends with where the service does not answer, of requests' and its own errors.
NO_CONNECTION = re.compile("ConnectionError|ConnectTimeout|ReadTimeout|ProxyError|SSLError|Could not connect")


@dataclass(frozen=True)
class Verdict:
    lines: list[str]
    code: int


def judge(report: Mapping[str, Any], ignored: Mapping[str, str]) -> Verdict:  # Any: json's own types
    """Of pip-audit's JSON. An advisory is ignored by any of its names."""
    packages = report["dependencies"]
    skipped = [one["name"] for one in packages if "skip_reason" in one]
    if len(skipped) == len(packages):
        return Verdict([f"{UNREACHABLE} ({len(packages)} packages)"], 0)
    found, passed, seen = [], [], set()
    for package in packages:
        for advisory in package.get("vulns", []):
            names = [advisory["id"], *advisory.get("aliases", [])]
            where = f"{package['name']} {package['version']}: {', '.join(names)}"
            if reasons := [ignored[name] for name in names if name in ignored]:
                seen.update(names)
                passed.append(f"ignored: {where}: {reasons[0]}")
            else:
                fixes = ", ".join(advisory.get("fix_versions", [])) or "no version yet"
                found.append(f"FOUND: {where}; fixed by {fixes}")
    lines = [*found, *passed]
    lines += [f"not reported, though pyproject.toml ignores it: {name}" for name in ignored if name not in seen]
    lines += [f"not looked up: {', '.join(skipped)}"] if skipped else []
    lines.append(
        f"{len(packages) - len(skipped)} packages audited, {len(found)} advisories found, {len(passed)} ignored"
    )
    return Verdict(lines, 1 if found else 0)


def judge_failure(stderr: str) -> Verdict:
    """Of a pip-audit that ended without a report."""
    last = (stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]
    if NO_CONNECTION.search(stderr):
        return Verdict([f"{UNREACHABLE} ({last[:200]})"], 0)
    return Verdict([f"pip-audit failed: {last}"], 1)


def read_ignored(pyproject: str) -> dict[str, str]:
    return dict(tomllib.loads(pyproject).get("tool", {}).get("audit", {}).get("ignored", {}))


def list_installed() -> list[str]:
    """As requirements, but our own package. Without local versions: torch 2.13.0+cpu is known as 2.13.0."""
    own = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["name"]
    versions = {one.name: one.version.partition("+")[0] for one in distributions() if one.name != own}
    return [f"{name}=={version}" for name, version in sorted(versions.items())]


def ask(requirements: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "requirements.txt"
        file.write_text("\n".join(requirements))
        options = ["--no-deps", "--disable-pip", "--format=json", "--progress-spinner=off"]
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(file), *options]
        return subprocess.run(command, capture_output=True, text=True, check=False)


def main() -> int:
    ignored = read_ignored((PROJECT / "pyproject.toml").read_text())
    answer = ask(list_installed())
    verdict = judge(json.loads(answer.stdout), ignored) if answer.stdout else judge_failure(answer.stderr)
    print("\n".join(verdict.lines))
    return verdict.code


if __name__ == "__main__":
    sys.exit(main())
