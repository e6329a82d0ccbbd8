"""What would have been told of every past day: each is judged by forecasts from the days before it alone."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from forecasting.card import SeriesCard
from forecasting.domain import Series
from forecasting.known_days.events import NO_EVENTS, Events
from forecasting.known_days.learning import learn_days
from forecasting.monitoring.comparison import Comparison, RecentDays, compare, join_comparisons, plan_comparison
from forecasting.monitoring.rule import find_first_days
from forecasting.monitoring.scores import LeastChange
from forecasting.panel import Panel
from forecasting.predictor import Predictor

LEARN_AGAIN = 28  # days after which the effects of holidays are learned again, from the days before


@dataclass(frozen=True)
class Past:
    """What judging the days of a panel needs: `panel` has what forecasts see, `observed` what was counted, also on days
    that verdicts mask.
    """

    panel: Panel
    observed: Float[np.ndarray, "series days"]
    predictor: Predictor
    find_card: Callable[[Series], SeriesCard]
    country_of: Callable[[str], str]
    least: LeastChange
    events: Events = NO_EVENTS


@dataclass(frozen=True)
class JudgedSeries:
    """The days of one series, from `first_day` (since 1970-01-01) on, in the source's units."""

    series: Series
    first_day: int
    observed: Float[np.ndarray, " days"]
    comparison: Comparison  # of this series alone

    @property
    def score(self) -> Float[np.ndarray, " days"]:
        return np.asarray(self.comparison.judgement.score[0])

    def tell(self, threshold: float) -> Int[np.ndarray, " days"]:
        """1 or -1 on days on which something new would have been told: too high, too low. Else 0."""
        first = find_first_days(self.score, self.comparison.judgement.reason[0], threshold)
        return np.where(first, np.sign(np.nan_to_num(self.score)), 0).astype(np.int64)


def judge_past(past: Past, *, num_days: int) -> Iterator[JudgedSeries]:
    """The last `num_days` of each series of the panel, up to its own last value."""
    for row, series in enumerate(past.panel.series):
        known = np.flatnonzero(np.isfinite(past.observed[row]))
        if known.size > 1:
            yield _judge_series(past, row, series, range(int(known[0]), int(known[-1]) + 1), num_days)


def _judge_series(past: Past, row: int, series: Series, life: range, num_days: int) -> JudgedSeries:
    days = life[max(1, len(life) - num_days) :]
    learns = bool(past.country_of(series.site) or past.events.of(series.site))
    step = LEARN_AGAIN if learns else len(days)
    card, parts = past.find_card(series), []
    for part in (days[start : start + step] for start in range(0, len(days), step)):
        if learns:
            card = _learn(past, row, card, range(life.start, part.start))
        parts.append(_compare_part(past, row, card, range(life.start, part.stop), len(part)))
    observed = series.unit_scale * past.observed[row, days.start : days.stop].astype(np.float64)
    whole = join_comparisons(parts, scale=series.unit_scale)
    return JudgedSeries(series, past.panel.first_day + days.start, observed, whole)


def _learn(past: Past, row: int, card: SeriesCard, seen: range) -> SeriesCard:
    """With the effects of holidays and events on the days that were seen."""
    site, first_day = past.panel.series[row].site, past.panel.first_day + seen.start
    country, events = past.country_of(site), past.events.of(site)
    values = past.panel.values[row, seen.start : seen.stop]
    return replace(card, country=country, effects=learn_days(values, first_day, country, events, kind=card.kind))


def _compare_part(past: Past, row: int, card: SeriesCard, days: range, num_days: int) -> Comparison:
    """Of the last `num_days` of the days."""
    columns, predictor = slice(days.start, days.stop), past.predictor
    recent = RecentDays(
        [card],
        past.panel.values[row : row + 1, columns],
        past.observed[row : row + 1, columns],
        np.array([past.panel.first_day + days.start]),
        events=[past.events.of(past.panel.series[row].site)],
    )
    plan = plan_comparison(recent, num_days=num_days, context_length=predictor.context_length)
    return compare([(plan, predictor.predict(plan.windows))], levels=predictor.levels, least=past.least)
