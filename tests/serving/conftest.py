"""A version made from untrained weights, its .mar, and the real TorchServe: one of each for all of these tests.

The package is imported inside the fixtures: what tests import of it goes through jaxtyping, which is not ready before.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from forecasting.artifact import Artifact
    from forecasting.config import ServingConfig
    from forecasting.model.forecaster import Forecaster
    from forecasting.serving.torchserve import TorchServe

VERSION = "v1.10"


@pytest.fixture(scope="session")
def untrained() -> "Forecaster":
    import torch

    from forecasting.config import ModelConfig
    from forecasting.model.forecaster import Forecaster

    torch.manual_seed(11)
    return Forecaster(ModelConfig(hidden_size=16)).eval()


def make_artifact(untrained: "Forecaster", store: Path, **changed: object) -> "Artifact":
    from forecasting import artifact
    from forecasting.model.forecaster import LEVELS

    card = artifact.Card(
        version=VERSION,
        created_at=artifact.now_text(),
        model={"sequence_length": 7, "prediction_horizon": 7},
        context_length=untrained.settings.context_length,
        levels=tuple(LEVELS),
        total_parameters=untrained.num_parameters(),
        features=(),
        data={},
        series=(),
        training={},
        libraries=artifact.describe_libraries(),
        hashes={},
    )
    with artifact.staged_version(store, VERSION) as folder:
        artifact.export_program(untrained, folder / artifact.PROGRAM)
        artifact.write_card(folder, replace(card, **changed))  # type: ignore[arg-type]
    return artifact.load_artifact(store, VERSION)


@pytest.fixture(scope="session")
def untrained_artifact(untrained: "Forecaster", tmp_path_factory: pytest.TempPathFactory) -> "Artifact":
    return make_artifact(untrained, tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def sample_artifact(untrained: "Forecaster", tmp_path_factory: pytest.TempPathFactory) -> "Artifact":
    """As if trained on two metrics of the sample site, whose table has no `site` column."""
    from forecasting.artifact import SeriesCard
    from forecasting.config import Kind

    series = tuple(
        SeriesCard(
            site="siteanalytics", metric=metric, kind=Kind.count, additive=True, unit_scale=1.0,
            band_scale=(1.0,) * 7, widening=(1.0,) * 5, day_correlation=0.5,
        )
        for metric in ("page_visits", "unique_visitors")
    )  # fmt: skip
    data = {"missing": "zero", "timezone": "UTC", "last_day": "2020-08-19"}
    return make_artifact(untrained, tmp_path_factory.mktemp("sample"), series=series, data=data)


@pytest.fixture(scope="session")
def free_ports() -> "ServingConfig":
    """Settings of a small TorchServe wherever there is room."""
    from forecasting.config import ServingConfig
    from forecasting.serving.torchserve import PORTS

    return replace(ServingConfig(workers=1, startup_timeout_seconds=60.0), **dict.fromkeys(PORTS, 0))


@pytest.fixture(scope="package")
def torchserve(untrained_artifact: "Artifact", free_ports: "ServingConfig") -> "Iterator[TorchServe]":
    """Two workers, started as from a shell that has secrets in its environment."""
    from forecasting.serving.archive import ensure_archive
    from forecasting.serving.torchserve import start_torchserve

    secrets = {"DB_PASSWORD": "hunter2", "DB_HOST": "db.example", "PYTHONPATH": "/nowhere", "API_TOKEN": "t"}
    with pytest.MonkeyPatch.context() as environment:
        for name, value in secrets.items():
            environment.setitem(os.environ, name, value)
        archive = ensure_archive(untrained_artifact)
        server = start_torchserve(archive, VERSION, replace(free_ports, workers=2))
    with server:
        yield server
