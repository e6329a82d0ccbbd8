"""scripts/mutants.py names modules and tests that exist, and reads its table. `make mutants` itself takes an hour."""

from types import ModuleType

import pytest

from tests import PROJECT
from tests.loading import load_file

TABLE = (PROJECT / "tests" / "MUTANTS.md").read_text()


@pytest.fixture(scope="module")
def mutants() -> ModuleType:
    return load_file(PROJECT / "scripts" / "mutants.py")


def test_modules_and_their_tests_are_there(mutants: ModuleType) -> None:
    assert len(mutants.TESTS) > 10
    for module, tests in mutants.TESTS.items():
        for name in (module, *tests.split()):
            assert (PROJECT / name).exists(), name


def test_table_of_equivalents_is_read(mutants: ModuleType) -> None:
    table = "| `a.py` | `x < 1` | `x <= 1` | x is never 1. |\n| `b.py` | `p or q` | `p \\| q` | Both are bool. |\n"
    assert mutants.read_equivalents("| file | line | change | reason |\n| --- | --- | --- | --- |\n" + table) == {
        ("a.py", "x<1", "x<=1"),
        ("b.py", "porq", "p|q"),
    }


def test_every_listed_line_is_still_in_its_file(mutants: ModuleType) -> None:
    listed = mutants.read_equivalents(TABLE)
    assert len(listed) == TABLE.count("\n| `") > 0
    for file, line, _ in listed:
        assert line in map(mutants.squeeze, (PROJECT / file).read_text().splitlines()), (file, line)
