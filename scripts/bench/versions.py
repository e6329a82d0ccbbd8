"""Versions in a model store that nobody had to train, for benchmarks and tests."""

import shutil
from dataclasses import replace
from pathlib import Path

from forecasting import artifact
from forecasting.artifact import Artifact
from forecasting.card import Card, describe_libraries, now_text
from forecasting.model.forecaster import LEVELS, Forecaster


def write_version(
    forecaster: Forecaster, store: Path, version: str, *, program: Path | None = None, **changed: object
) -> Artifact:
    """The forecaster as it is, with a card of no series; `changed` are fields of its card. `program` is the exported
    forecaster, if there is one already: exporting takes seconds.
    """
    settings = forecaster.settings
    card = Card(
        version=version,
        created_at=now_text(),
        model={
            "sequence_length": settings.sequence_length,
            "prediction_horizon": settings.prediction_horizon,
            "direct_days": settings.direct_days,
        },
        context_length=settings.context_length,
        levels=tuple(LEVELS),
        total_parameters=forecaster.num_parameters(),
        features=(),
        data={},
        series=(),
        training={},
        libraries=describe_libraries(),
        hashes={},
    )
    with artifact.staged_version(store, version) as folder:
        if program is None:
            artifact.export_program(forecaster, folder / artifact.PROGRAM)
        else:
            shutil.copyfile(program, folder / artifact.PROGRAM)
        artifact.write_card(folder, replace(card, **changed))  # type: ignore[arg-type]
    return artifact.load_artifact(store, version)
