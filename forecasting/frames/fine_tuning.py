"""Fine-tuning on the series of a frame, in memory, and writing the outcome as a version."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from forecasting.artifact import forecaster_predictor, load_base
from forecasting.card import SeriesCard, describe_series_card
from forecasting.domain import MIN_DAYS
from forecasting.frames.loaded_model import LoadedModel
from forecasting.frames.panels import UNNAMED, make_panel
from forecasting.frames.reading import FrameSeries
from forecasting.known_days.events import Events
from forecasting.known_days.learning import KnownDays
from forecasting.known_days.regressors import Regressors
from forecasting.runtime.stopwatch import Stopwatch
from forecasting.settings.schema import Config, DataConfig, TrainingConfig
from forecasting.training.pipeline import TrainingResult, learn, write_version
from forecasting.training.regressor_choice import RegressorHistory


@dataclass(frozen=True)
class Tuned:
    """What was learned, to be written."""

    result: TrainingResult
    config: Config
    clock: Stopwatch

    def write(self, version: str, store: Path) -> Path:
        """Returns the version's folder. Raises InvalidVersion, StoreNotWritable."""
        config = replace(self.config, model_version=version, model_dir=store)
        return write_version(self.result, config, clock=self.clock).folder


def fine_tune(
    frame: FrameSeries,
    cards: Sequence[SeriesCard],
    metric: str,
    *,
    epochs: int,
    drop_short: bool,
    events: Events,
    regressors: Regressors,
) -> tuple[LoadedModel, Tuned]:
    """The base, fine-tuned as training makes a version: on all days, the last of which test it before. `cards` have the
    kinds of the series, their countries, and the effects of holidays and events.

    Raises TooFewDays, naming the series.
    """
    keys = [(name or UNNAMED, metric) for name in frame.names]
    known = {
        key: (card.country, card.effects)
        for key, card in zip(keys, cards, strict=True)
        if card.country or card.effects.by_name
    }
    with tempfile.TemporaryDirectory() as folder:
        config = Config(
            model=load_base().settings, training=TrainingConfig(epochs=epochs), model_dir=Path(folder)
        )  # fmt: skip
        panel = make_panel(frame, cards, config, metric=metric, named=() if drop_short else (metric,))
        config = replace(config, data=DataConfig(days_back=max(MIN_DAYS, panel.num_days)))
        clock = Stopwatch()
        history = RegressorHistory(panel, regressors) if regressors.by_site else None
        result = learn(panel, config, clock=clock, known=KnownDays(known, events), regressors=history)
    learned = result.results
    rows = zip(learned.series, learned.bands, learned.answers, learned.known, learned.regressors, strict=True)
    tuned = [
        describe_series_card(row, bands, answered_by=answers, known=days, regressors=used)
        for row, bands, answers, days, used in rows
    ]
    predictor = forecaster_predictor("fine-tuned", result.served.forecaster)
    return LoadedModel(predictor, tuned, config), Tuned(result, config, clock)
