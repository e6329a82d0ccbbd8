"""Mutation testing: change the pure modules in small ways, one at a time, and count the changes that tests notice.

    make mutants                                                every module, 40 changes each
    make mutants ARGS='forecasting/panel.py --sample 200'       more of one module

Each change (a mutant) runs in a copy of the project, against the module's own tests only. Prints every mutant that no
test noticed. Exit 1: the tests of a module noticed less than 90%, mutants listed as equivalent in tests/MUTANTS.md
aside; 2: no such module, or its tests fail without any change.
"""

import argparse
import ast
import random
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cosmic_ray.work_item import WorkItem, WorkResult

PROJECT = Path(__file__).resolve().parents[1]
LEAST_NOTICED = 0.9

# Each pure module, and the tests that are its own.
TESTS = {
    "forecasting/baselines.py": "tests/test_baselines.py",
    "forecasting/data_quality/bots.py": "tests/data_quality",
    "forecasting/data_quality/outages.py": "tests/data_quality",
    "forecasting/data_quality/rules.py": "tests/data_quality",
    "forecasting/data_quality/trailing_days.py": "tests/data_quality",
    "forecasting/domain.py": "tests/test_domain.py",
    "forecasting/evaluation/comparison.py": "tests/evaluation/test_comparison.py",
    "forecasting/evaluation/measures.py": "tests/evaluation/test_measures.py",
    "forecasting/evaluation/rolling_origins.py": "tests/evaluation/test_rolling_origins.py",
    "forecasting/evaluation/scoring.py": "tests/evaluation/test_scoring.py",
    "forecasting/latest_windows.py": "tests/test_panel_limits.py tests/test_panel.py",
    "forecasting/model/features.py": "tests/model/test_features.py tests/model/test_forecaster.py",
    "forecasting/model/rollout.py": "tests/test_predictor.py",
    "forecasting/model/scaling.py": "tests/model/test_scaling.py",
    "forecasting/panel.py": "tests/test_panel_limits.py tests/test_panel.py",
    "forecasting/panel_building.py": "tests/test_panel_limits.py tests/test_panel.py",
    "forecasting/predictor.py": "tests/test_predictor.py",
    "forecasting/serving/circuit_breaker.py": "tests/serving/test_circuit_breaker.py",
    "forecasting/serving/request_batcher.py": "tests/serving/test_request_batcher.py",
    "forecasting/serving/responses.py": "tests/serving/test_responses.py",
    "forecasting/settings/bounds.py": "tests/settings/test_bounds.py",
    "forecasting/settings/loading.py": "tests/settings",
    "forecasting/settings/schema.py": "tests/settings",
    "forecasting/warehouse/copy_format.py": "tests/warehouse/test_copy_format.py",
    "forecasting/warehouse/csv/cells.py": "tests/warehouse/csv",
    "forecasting/warehouse/csv/dates.py": "tests/warehouse/csv",
    "forecasting/warehouse/csv/formats.py": "tests/warehouse/csv",
    "forecasting/warehouse/csv/layout.py": "tests/warehouse/csv",
    "forecasting/warehouse/csv/numbers.py": "tests/warehouse/csv",
    "forecasting/warehouse/csv/observations.py": "tests/warehouse/csv",
    "forecasting/warehouse/csv/rows.py": "tests/warehouse/csv",
    "forecasting/warehouse/csv/tables.py": "tests/warehouse/csv",
    "forecasting/warehouse/metric_names.py": "tests/warehouse/csv tests/warehouse/test_metric_names.py",
    "forecasting/warehouse/units.py": "tests/warehouse/test_units.py",
}

# Mistakes that people make. Cosmic Ray knows more, such as `<<` for `+`, which any test notices.
SWAPS = ["Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Div", "FloorDiv_Mul", "Mod_FloorDiv", "Pow_Mul"]
COMPARISONS = ["Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt", "Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt", "Eq_NotEq", "NotEq_Eq"]
PLAUSIBLE = re.compile(
    rf"core/(ReplaceBinaryOperator_({'|'.join(SWAPS)})|ReplaceComparisonOperator_({'|'.join(COMPARISONS)}|Is_IsNot|IsNot_Is)"
    "|ReplaceUnaryOperator_(Delete_Not|Delete_USub|Delete_Invert)|ReplaceAndWithOr|ReplaceOrWithAnd|AddNot"
    "|ReplaceTrueWithFalse|ReplaceFalseWithTrue|ReplaceBreakWithContinue|ReplaceContinueWithBreak|NumberReplacer"
    "|ExceptionReplacer|ZeroIterationForLoop)"
)


@dataclass(frozen=True)
class Survivor:
    place: str  # file:line
    before: str
    after: str


@dataclass(frozen=True)
class Report:
    module: str
    num_possible: int
    num_tried: int
    survivors: list[Survivor]
    equivalents: list[Survivor]

    @property
    def noticed(self) -> float:
        """Share of the mutants that change something."""
        num_real = self.num_tried - len(self.equivalents)
        return 1 - len(self.survivors) / num_real if num_real else 1.0


class TestsFail(Exception):
    pass


def copy_project(folder: Path) -> None:
    """What git tracks or would track."""
    command = ["git", "-C", str(PROJECT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in filter(None, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")):
        if (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, folder / name)


def is_mistake(item: "WorkItem", source: str) -> bool:
    """False for what only guards against mistakes of ours, for the numbers of a class's fields (defaults and bounds are
    choices), and where Cosmic Ray takes the star of `f(*, a)`, `f(*a)` or `[*a]` for a multiplication.
    """
    (mutation,) = item.mutations
    if not PLAUSIBLE.fullmatch(mutation.operator_name):
        return False
    line, column = mutation.start_pos
    if "NumberReplacer" in mutation.operator_name and any(line in lines for lines in list_fields(source)):
        return False
    lines = source.splitlines(keepends=True)
    if re.search(r"(frozen|strict|slots)=$", lines[line - 1][:column]):
        return False
    before = ("".join(lines[: line - 1]) + lines[line - 1][:column]).rstrip()
    return "BinaryOperator" not in mutation.operator_name or before[-1] not in "([{,=:"


@cache
def list_fields(source: str) -> list[range]:
    """The lines of each field in the body of a class."""
    classes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)]
    fields = [node for a_class in classes for node in a_class.body if isinstance(node, ast.AnnAssign)]
    return [range(node.lineno, (node.end_lineno or node.lineno) + 1) for node in fields]


def sample_mutants(module: Path, *, size: int, seed: int) -> "tuple[int, list[WorkItem]]":
    """The number of mutants, and a sample of them in the file's order. The same seed draws the same sample."""
    from cosmic_ray.commands.init import _all_work_items as list_mutants  # the public function wants a database

    source = module.read_text()
    mutants = [item for item in list_mutants([module], {}) if is_mistake(item, source)]
    drawn = random.Random(seed).sample(mutants, min(size, len(mutants)))  # noqa: S311
    return len(mutants), sorted(drawn, key=lambda item: item.mutations[0].start_pos)


def describe(module: str, item: "WorkItem", result: "WorkResult") -> Survivor:
    changed = [line for line in (result.diff or "").splitlines() if re.match(r"[+-](?![+-]{2})", line)]
    sides = [" ".join(line[1:].strip() for line in changed if line[0] == sign) for sign in "-+"]
    return Survivor(f"{module}:{item.mutations[0].start_pos[0]}", *sides)


def read_equivalents(text: str) -> set[tuple[str, str, str]]:
    """File, line and changed line of each row of the table, without spaces: Cosmic Ray adds some."""
    rows = re.findall(r"^\| `(\S+)` \| `(.+)` \| `(.+)` \| .+ \|$", text, re.MULTILINE)
    return {(file, squeeze(line), squeeze(changed)) for file, line, changed in rows}


def squeeze(line: str) -> str:
    return re.sub(r"\s+", "", line.replace("\\|", "|"))


def run_module(module: str, *, size: int, seed: int, equivalents: Collection[tuple[str, str, str]]) -> Report:
    from cosmic_ray.mutating import mutate_and_test
    from cosmic_ray.work_item import TestOutcome

    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        folder = Path(name)
        copy_project(folder)
        pytest = f"{sys.executable} -m pytest -x -q -p no:cacheprovider --hypothesis-seed=0 {TESTS[module]}"
        command = f"env -C {shlex.quote(name)} PYTHONPATH={shlex.quote(name)} {pytest}"
        started = time.monotonic()
        baseline = subprocess.run(shlex.split(command), capture_output=True, text=True, check=False)
        if baseline.returncode:
            output = baseline.stdout[-3000:] + baseline.stderr[-500:]
            raise TestsFail(f"{TESTS[module]} fails without any change:\n{output}")
        timeout = 20 + 5 * (time.monotonic() - started)  # ends a loop without end, on a busy machine too
        for compiled in (folder / module).parent.glob(f"__pycache__/{Path(module).stem}.*"):
            compiled.unlink()  # the other modules stay compiled
        num_possible, mutants = sample_mutants(folder / module, size=size, seed=seed)
        survivors = []
        for item in mutants:
            result = mutate_and_test(item.mutations, command, timeout)
            if result.test_outcome is TestOutcome.SURVIVED:
                survivors.append(describe(module, item, result))
    known = [
        survivor for survivor in survivors if (module, squeeze(survivor.before), squeeze(survivor.after)) in equivalents
    ]
    unknown = [survivor for survivor in survivors if survivor not in known]
    return Report(module, num_possible, len(mutants), unknown, known)


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("modules", nargs="*", help="files or folders, such as forecasting/panel.py; default: all")
    parser.add_argument("--sample", type=int, default=40, help="mutants tried of each module")
    parser.add_argument("--seed", type=int, default=1, help="another seed tries other mutants")
    parser.add_argument("--jobs", type=int, default=1, help="modules at a time")
    arguments = parser.parse_args(argv)
    if unknown := [name for name in arguments.modules if not any(module.startswith(name) for module in TESTS)]:
        parser.error(f"no pure module is in {', '.join(unknown)}. TESTS in scripts/mutants.py lists them.")
    return arguments


def main(argv: Sequence[str]) -> int:
    arguments = parse_arguments(argv)
    modules = [module for module in TESTS if not arguments.modules or module.startswith(tuple(arguments.modules))]
    equivalents = read_equivalents((PROJECT / "tests" / "MUTANTS.md").read_text())

    def run(module: str) -> Report:
        return run_module(module, size=arguments.sample, seed=arguments.seed, equivalents=equivalents)

    reports = []
    try:
        with ThreadPoolExecutor(arguments.jobs) as pool:
            for report in pool.map(run, modules):
                reports.append(report)
                for survivor in report.survivors:
                    print(f"SURVIVED {survivor.place}\n  - {survivor.before}\n  + {survivor.after}")
                print(
                    f"{report.module}: {report.num_tried} of {report.num_possible} mutants tried, "
                    f"{len(report.survivors)} survived, {len(report.equivalents)} equivalent, "
                    f"{report.noticed:.0%} noticed",
                    flush=True,
                )
    except TestsFail as failure:
        print(failure, file=sys.stderr)
        return 2
    return 1 if any(report.noticed < LEAST_NOTICED for report in reports) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
