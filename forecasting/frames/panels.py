"""The series of a frame as a panel, for what learns from all of their days."""

from collections.abc import Sequence

from forecasting.card import SeriesCard
from forecasting.domain import Kind, Series, Unit, Verdict, to_date
from forecasting.frames.reading import FrameSeries
from forecasting.frames.series_rows import find_verdicts, mask
from forecasting.panel import Observations, Panel, describe_series
from forecasting.panel_building import build_panel
from forecasting.settings.schema import Config, MetricConfig

UNNAMED = "site"  # of a frame without ids


def make_panel(
    frame: FrameSeries, cards: Sequence[SeriesCard], config: Config, *, metric: str, named: Sequence[str]
) -> Panel:
    """A series of a metric that is `named` raises TooFewDays if it is too short; others are left out."""
    rows = frame.rows
    verdicts = find_verdicts(rows, cards, config.verdicts)
    masked = mask(rows, verdicts, config.verdicts)
    observations = []
    for name, card, start, end in zip(frame.names, cards, rows.starts, rows.starts + rows.counts, strict=True):
        days = rows.days[start:end]
        reasons = {int(day): Verdict(int(verdict)) for day, verdict in zip(days, verdicts[start:end], strict=True)}
        series = describe(name or UNNAMED, metric, card.kind)
        observations.append(Observations(series, days, masked.values[start:end], reasons))
    today = to_date(rows.days.max() + 1)  # all days of the frame are over
    return build_panel(observations, today=today, missing=config.data.missing, named=named)


def describe(site: str, metric: str, kind: Kind) -> Series:
    unit = Unit.fraction if kind is Kind.rate else None
    return describe_series(site, metric, MetricConfig(kind=kind, unit=unit), otherwise=kind)
