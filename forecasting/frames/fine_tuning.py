"""Fine-tuning on the series of a frame, in memory, and writing the outcome as a version."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from forecasting.artifact import forecaster_predictor, load_base
from forecasting.card import SeriesCard, describe_series_card
from forecasting.domain import MIN_DAYS, Kind, Series, Unit, Verdict, to_date
from forecasting.frames.loaded_model import LoadedModel
from forecasting.frames.reading import FrameSeries
from forecasting.frames.series_rows import find_verdicts, mask
from forecasting.known_days.learning import KnownDays
from forecasting.panel import Observations, Panel, describe_series
from forecasting.panel_building import build_panel
from forecasting.runtime.stopwatch import Stopwatch
from forecasting.settings.schema import Config, DataConfig, MetricConfig, TrainingConfig
from forecasting.training.pipeline import TrainingResult, learn, write_version

UNNAMED = "site"  # of a frame without ids


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
    frame: FrameSeries, cards: Sequence[SeriesCard], metric: str, *, epochs: int, drop_short: bool
) -> tuple[LoadedModel, Tuned]:
    """The base, fine-tuned as training makes a version: on all days, the last of which test it before. `cards` have the
    kinds of the series, and their countries.

    Raises TooFewDays, naming the series.
    """
    series = [_describe(name or UNNAMED, metric, card.kind) for name, card in zip(frame.names, cards, strict=True)]
    known = {row.key: (card.country, card.effects) for row, card in zip(series, cards, strict=True) if card.country}
    with tempfile.TemporaryDirectory() as folder:
        config = Config(
            model=load_base().settings, training=TrainingConfig(epochs=epochs), model_dir=Path(folder)
        )  # fmt: skip
        panel = _build_panel(frame, cards, series, config, named=() if drop_short else (metric,))
        config = replace(config, data=DataConfig(days_back=max(MIN_DAYS, panel.num_days)))
        clock = Stopwatch()
        result = learn(panel, config, clock=clock, known=KnownDays(known))
    learned = result.results
    rows = zip(learned.series, learned.bands, learned.answers, learned.known, strict=True)
    tuned = [describe_series_card(row, bands, answered_by=answers, known=days) for row, bands, answers, days in rows]
    predictor = forecaster_predictor("fine-tuned", result.served.forecaster)
    return LoadedModel(predictor, tuned, config), Tuned(result, config, clock)


def _describe(site: str, metric: str, kind: Kind) -> Series:
    unit = Unit.fraction if kind is Kind.rate else None
    return describe_series(site, metric, MetricConfig(kind=kind, unit=unit), otherwise=kind)


def _build_panel(
    frame: FrameSeries, cards: Sequence[SeriesCard], series: Sequence[Series], config: Config, *, named: Sequence[str]
) -> Panel:
    rows = frame.rows
    verdicts = find_verdicts(rows, cards, config.verdicts)
    masked = mask(rows, verdicts, config.verdicts)
    observations = []
    for row, start, end in zip(series, rows.starts, rows.starts + rows.counts, strict=True):
        days = rows.days[start:end]
        reasons = {int(day): Verdict(int(verdict)) for day, verdict in zip(days, verdicts[start:end], strict=True)}
        observations.append(Observations(row, days, masked.values[start:end], reasons))
    today = to_date(rows.days.max() + 1)  # all days of the frame are over
    return build_panel(observations, today=today, missing=config.data.missing, named=named)
