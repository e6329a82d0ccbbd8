"""Unusual days of a frame: each day beside the forecasts made in the week before it, by the rule of monitoring."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from forecasting.card import SeriesCard
from forecasting.frames.levels import SCORE, band_ends, find_quantiles
from forecasting.frames.loaded_model import LoadedModel
from forecasting.frames.reading import FrameSeries
from forecasting.frames.series_rows import SeriesRows, find_verdicts, is_masked
from forecasting.known_days.events import Event
from forecasting.monitoring.comparison import Comparison, RecentDays, compare, lay_out, plan_comparison
from forecasting.monitoring.rule import Reason
from forecasting.monitoring.scores import AHEAD

AT_ONCE = 100_000  # days judged at a time: each has a window of its own
BAND = (0.1, 0.5, 0.9)  # the levels of what a comparison shows


@dataclass(frozen=True)
class JudgedDays:
    """A row for each day that could be judged, sorted by series and day."""

    series: Int[np.ndarray, " rows"]
    days: Int[np.ndarray, " rows"]
    columns: Mapping[str, Float[np.ndarray, " rows"]]
    is_unusual: Bool[np.ndarray, " rows"]


def find_anomalies(
    model: LoadedModel,
    frame: FrameSeries,
    cards: Sequence[SeriesCard],
    *,
    target: str,
    width: float,
    events: Sequence[Sequence[Event]] = (),
) -> JudgedDays:
    """`width` is that of the band, in percent, outside of which a day is unusual. `events` are those of each series;
    empty: none of any.
    """
    rows, parts = frame.rows, []
    longest = int(rows.counts.max())
    step = max(1, AT_ONCE // longest)
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        recent = _lay_out(model, rows.select(part), cards[part], events[part])
        judged = _judge(model, recent, target=target, width=width)
        parts.append((judged, start))
    return JudgedDays(
        np.concatenate([judged.series + start for judged, start in parts]),
        np.concatenate([judged.days for judged, _ in parts]),
        {name: np.concatenate([judged.columns[name] for judged, _ in parts]) for name in parts[0][0].columns},
        np.concatenate([judged.is_unusual for judged, _ in parts]),
    )


def _judge(model: LoadedModel, recent: RecentDays, *, target: str, width: float) -> JudgedDays:
    cards = recent.cards
    num_days = recent.history.shape[1]
    predictor = model.predictor
    plan = plan_comparison(recent, num_days=num_days, context_length=predictor.context_length)
    comparison = compare([(plan, predictor.predict(plan.windows))], levels=predictor.levels)
    score = comparison.judgement.score
    series, columns = np.nonzero(np.isfinite(score))
    days = recent.first_days[series] + num_days - score.shape[1] + columns
    scale = np.array([card.unit_scale for card in cards])[:, None]
    lower, upper = _find_band(comparison, cards, width, logarithmic=predictor.logarithmic)
    a_day = scale * _per_day(comparison, cards)
    observed = scale * recent.observed[:, -score.shape[1] :].astype(np.float64)
    values = {target: observed, "forecast": comparison.expected * a_day, "lo": lower * a_day, "hi": upper * a_day}
    judged = {name: value[series, columns] for name, value in {**values, "score": score}.items()}
    threshold = SCORE(band_ends(width)[1])
    return JudgedDays(series, days, judged, np.abs(score[series, columns]) > threshold)


def _per_day(comparison: Comparison, cards: Sequence[SeriesCard]) -> Float[np.ndarray, "series days"]:
    """By what a comparison is multiplied to be of a day: that of a week is a sum where days add up."""
    is_sum = (comparison.judgement.reason == Reason.week) & np.array([card.additive for card in cards])[:, None]
    return np.where(is_sum, 1 / AHEAD, 1.0)


def _lay_out(
    model: LoadedModel, rows: SeriesRows, cards: Sequence[SeriesCard], events: Sequence[Sequence[Event]]
) -> RecentDays:
    """All days, as the daily job reads them from a database."""
    verdicts = model.config.verdicts
    scaled = replace(rows, values=rows.values / np.array([card.unit_scale for card in cards])[rows.series])
    recent = lay_out(
        rows.counts,
        rows.days,
        rows.values,
        is_masked(find_verdicts(scaled, cards, verdicts), verdicts),
        cards,
        num_days=int((rows.find_last_days()[rows.series] - rows.days).max()) + 1,
        missing=model.config.data.missing,
    )
    return replace(recent, events=events)


def _find_band(
    comparison: Comparison, cards: Sequence[SeriesCard], width: float, *, logarithmic: bool
) -> tuple[Float[np.ndarray, "series days"], Float[np.ndarray, "series days"]]:
    known = np.stack([comparison.lower, comparison.expected, comparison.upper], axis=-1)
    ends = find_quantiles(known, BAND, band_ends(width), [card.kind for card in cards], logarithmic=logarithmic)
    return ends[..., 0], ends[..., 1]
