"""Which tests `make check` runs, and in which order workers run them in parallel."""

import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
# Modules and folders whose tests start no server and train nothing: `make check` runs them before each commit.
FAST = (
    "alerts/test_filters.py",
    "alerts/test_listing.py",
    "alerts/test_troubles.py",
    "alerts/test_unusual.py",
    "alerts/test_weekly.py",
    "data_quality",
    "evaluation/test_measures.py",
    "frames/test_anomalies.py",
    "frames/test_cross_validation.py",
    "frames/test_engine_pages.py",
    "frames/test_levels.py",
    "frames/test_wrong_frames.py",
    "known_days/test_events.py",
    "known_days/test_regressors.py",
    "lifecycle",
    "model",
    "monitoring",
    "serving/http/test_guards.py",
    "serving/page",
    "serving/test_known_days.py",
    "serving/test_promotions.py",
    "serving/test_request_batcher.py",
    "serving/test_responses.py",
    "settings",
    "test_card.py",
    "test_compiled_files.py",
    "test_domain.py",
    "test_panel.py",
    "test_predictor.py",
    "test_readme.py",
    "training/test_data_module.py",
    "training/test_report.py",
    "warehouse/csv",
    "warehouse/test_windows.py",
)
# Modules and folders in the order in which workers begin them: those that take longest come first, so that no worker
# is left alone with one at the end. The first module makes what all that start TorchServe wait for (`java_classes`), so
# the next ones start none. Modules and folders that are not listed come last.
BEGIN_WITH = (
    "serving/http/test_access_log.py",  # with all of TOGETHER["TorchServe"]
    "training/test_fit.py",
    "frames/test_traffic_forecaster.py",
    "frames/test_spark.py",
    "training/test_distributed.py",
    "stack/test_training.py",  # with all that forks scripts
    "stack/test_contract.py",  # with all of TOGETHER["scripts/serve.py"]
    "stack/test_bench_scripts.py",
    "stack/test_promotion.py",
    "stack/test_serving.py",
    "stack/test_demo.py",
    "frames/test_dask.py",
    "stack",
    "training/test_backtest.py",
    "serving",
    "training",
    "warehouse",
)
# Modules whose tests share a server, which one of the workers starts and the others do without.
TOGETHER = {
    "the process that scripts are forked from": (  # tests/stack/forking.py
        "stack/test_backtest_script.py",
        "stack/test_forecast_script.py",
        "stack/test_torchrun.py",
        "stack/test_training.py",
        "stack/test_umami_sites.py",
    ),
    "scripts/serve.py": (
        "stack/test_contract.py",
        "stack/test_fuzzing.py",
        "stack/test_older_clients.py",
        "stack/test_page.py",
        "stack/test_routes.py",
    ),
    "TorchServe": (
        "serving/http/test_access_log.py",
        "serving/test_resource_watch.py",
        "serving/test_server.py",
        "serving/torchserve/test_client.py",
        "serving/torchserve/test_process.py",
        "serving/torchserve/test_supervisor.py",
    ),
}


def is_worker() -> bool:
    """Whether this is one of several processes that run tests in parallel (pytest-xdist's)."""
    return "PYTEST_XDIST_WORKER" in os.environ


def work_unit_of(module: str) -> str:
    """What one worker runs as a whole: the module, named from the project's folder, or all that share a server."""
    name = module.removeprefix(f"{TESTS.name}/")
    return next((server for server, modules in TOGETHER.items() if name in modules), module)


def mark_fast(items: Sequence[pytest.Item]) -> None:
    named = {*FAST, *BEGIN_WITH, *chain.from_iterable(TOGETHER.values())}
    if missing := sorted(name for name in named if not (TESTS / name).exists()):
        raise pytest.UsageError(f"tests/selection.py names {', '.join(missing)}, which are not in {TESTS}.")
    for item in items:
        if is_fast(item.path):
            item.add_marker(pytest.mark.fast)


def is_fast(module: Path) -> bool:
    return not {TESTS / name for name in FAST}.isdisjoint({module, *module.parents})


def begin_with_longest(items: list[pytest.Item]) -> None:
    """Workers take one module after another."""
    items.sort(key=lambda item: _rank(item.path))


def _rank(module: Path) -> int:
    places = [TESTS / name for name in BEGIN_WITH]
    return next((rank for rank, place in enumerate(places) if place in {module, *module.parents}), len(places))
