"""Days beside the forecasts that were made, or would have been made, in the week before each of them. Pure numpy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from forecasting.card import SeriesCard, make_windows
from forecasting.domain import KIND_CODES, MIN_KNOWN_DAYS, RECENT_DAYS
from forecasting.known_days.events import Event, list_event_days
from forecasting.known_days.holiday_calendar import AFTER, BEFORE, SCHOOL, name_days
from forecasting.monitoring.rule import Judgement, Reason, judge
from forecasting.monitoring.scores import AHEAD, LeastChange, score_days
from forecasting.predictor import Windows

LEVELS = (0.05, 0.1, 0.5, 0.9, 0.95)  # of the forecasts that are kept: both bands
SCORED, MEDIAN, SHOWN = [0, 2, 4], 2, (1, 3)  # their places: what is scored, and the 80% band that people are shown
HOLIDAY, BESIDE = 1.5, 1.25  # what the score of a public holiday or an event, and of a day beside it, is divided by


@dataclass(frozen=True)
class RecentDays:
    """The last days of some series, on a calendar of each one's own, in the model's units.

    `history` is what forecasts see, NaN where unknown or masked by a verdict; `observed`, as long, is what was counted.
    """

    cards: Sequence[SeriesCard]
    history: Float[np.ndarray, "series days"]
    observed: Float[np.ndarray, "series days"]
    first_days: Int[np.ndarray, " series"]  # of the first column, in days since 1970-01-01
    events: Sequence[Sequence[Event]] = ()  # of each series; empty: none of any

    def find_events(self, row: int) -> Sequence[Event]:
        return self.events[row] if self.events else ()


@dataclass(frozen=True)
class Comparison:
    """Of the last days, with what was expected of each of them; for a week, the sum of its days or their mean."""

    judgement: Judgement
    value: Float[np.ndarray, "series judged"]
    expected: Float[np.ndarray, "series judged"]
    lower: Float[np.ndarray, "series judged"]  # the 80% band
    upper: Float[np.ndarray, "series judged"]

    @property
    def values(self) -> tuple[Float[np.ndarray, "series judged"], ...]:
        """What was counted and what was expected, in the order above."""
        return self.value, self.expected, self.lower, self.upper


@dataclass(frozen=True)
class Plan:
    """The forecasts that a comparison needs: of AHEAD days from each of the windows."""

    days: RecentDays
    num_days: int
    windows: Windows
    is_enough: Bool[np.ndarray, "series judged"]  # which days have a window: enough known days before them


def plan_comparison(days: RecentDays, *, num_days: int, context_length: int) -> Plan:
    """Of the last `num_days` days of each series. Forecasts begin AHEAD days before them."""
    num_judged = min(num_days + AHEAD - 1, days.history.shape[1] - 1)
    return Plan(days, num_days, *_make_windows(days, num_judged, context_length))


def compare(
    plan: Plan,
    quantiles: Float[np.ndarray, "windows days levels"],
    *,
    levels: Sequence[float],
    least: LeastChange | None = None,
) -> Comparison:
    """The days beside the forecasts of the plan's windows, in the model's units."""
    days, num_judged = plan.days, plan.is_enough.shape[1]
    places = [list(levels).index(level) for level in LEVELS]
    kept = np.full((*plan.is_enough.shape, AHEAD, len(LEVELS)), np.nan, np.float32)
    kept[plan.is_enough] = quantiles[..., places]
    bands = _align(kept).astype(np.float64)
    observed = days.observed[:, -num_judged:].astype(np.float64)
    kinds = np.array([KIND_CODES[card.kind] for card in days.cards], np.int64)
    first = days.first_days + days.history.shape[1] - num_judged
    softening = np.stack(
        [
            soften(card.country, days.find_events(row), range(day, day + num_judged))
            for row, (card, day) in enumerate(zip(days.cards, first.tolist(), strict=True))
        ]
    )
    scores = score_days(observed, bands[..., SCORED], kinds, softening=softening, least=least)
    return _cut(_describe(judge(scores), observed, bands, days.cards), plan.num_days)


def soften(country: str, events: Sequence[Event], days: range) -> Float[np.ndarray, " days"]:
    """What the score of each day is divided by. A real outage on a holiday is still told."""
    divisors = np.ones(len(days))
    for day, name in (name_days(country, days) if country else {}).items():
        if not name.startswith(SCHOOL):
            divisors[day - days.start] = BESIDE if name.startswith((BEFORE, AFTER)) else HOLIDAY
    for day, _ in list_event_days(events, days):
        divisors[day - days.start] = HOLIDAY
    return divisors


def _make_windows(
    days: RecentDays, num_judged: int, context_length: int
) -> tuple[Windows, Bool[np.ndarray, "series judged"]]:
    """A window up to the day before each of the last days, of those with enough known days; and which these are."""
    num_columns = num_judged + context_length
    missing = max(0, num_columns - days.history.shape[1])
    history = np.pad(days.history[:, -num_columns:], ((0, 0), (missing, 0)), constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(history[:, :-1], context_length, axis=1)
    is_enough = np.isfinite(windows[..., -RECENT_DAYS:]).sum(-1) >= MIN_KNOWN_DAYS
    rows, columns = np.nonzero(is_enough)
    first_days = days.first_days + days.history.shape[1] - num_columns
    cards = [days.cards[row] for row in rows.tolist()]
    events = [days.find_events(row) for row in rows.tolist()]
    made = make_windows(cards, windows[rows, columns], first_days[rows] + columns, days_ahead=AHEAD, events=events)
    return made, is_enough


def _align(quantiles: Float[np.ndarray, "series days ahead levels"]) -> Float[np.ndarray, "series days ahead levels"]:
    """From the forecasts made before each day, of that day and those after it, to the forecasts of each day."""
    bands = np.full_like(quantiles, np.nan)
    for back in range(quantiles.shape[2]):
        bands[:, back:, back] = quantiles[:, : quantiles.shape[1] - back, back]
    return bands


def _describe(
    judgement: Judgement,
    observed: Float[np.ndarray, "series days"],
    bands: Float[np.ndarray, "series days ahead levels"],
    cards: Sequence[SeriesCard],
) -> Comparison:
    chosen = np.take_along_axis(bands, judgement.ahead[..., None, None] - 1, axis=2)[:, :, 0]
    value, expected = observed.copy(), chosen[..., MEDIAN]
    lower, upper = chosen[..., SHOWN[0]], chosen[..., SHOWN[1]]
    for row, day in np.argwhere(judgement.reason == Reason.week):
        columns, ahead = np.arange(day - AHEAD + 1, day + 1), np.arange(AHEAD)
        values, week = observed[row, columns], bands[row, columns, ahead]
        unit = 1.0 if cards[row].additive else 1.0 / AHEAD
        low, median, high = (
            unit * np.nansum(week[np.isfinite(values), place]) for place in (SHOWN[0], MEDIAN, SHOWN[1])
        )
        share = np.sqrt((1 + (AHEAD - 1) * cards[row].day_correlation) / AHEAD)  # as totals.sum_up
        value[row, day], expected[row, day] = unit * np.nansum(values), median
        lower[row, day], upper[row, day] = median - share * (median - low), median + share * (high - median)
    return Comparison(judgement, value, expected, lower, upper)


def _cut(comparison: Comparison, num_days: int) -> Comparison:
    """The last days alone."""
    return _map([comparison], lambda parts: parts[0][:, -num_days:])


def join_comparisons(parts: Sequence[Comparison], *, scale: float = 1.0) -> Comparison:
    """Comparisons of the same series, one part of their days after another; values times `scale`."""
    joined = _map(parts, lambda days: np.concatenate(days, axis=1))
    return Comparison(joined.judgement, *(scale * part for part in joined.values))


def _map(parts: Sequence[Comparison], join: Callable[[Sequence[np.ndarray]], np.ndarray]) -> Comparison:
    judged = [part.judgement for part in parts]
    return Comparison(
        Judgement(
            score=join([part.score for part in judged]),
            ahead=join([part.ahead for part in judged]),
            reason=join([part.reason for part in judged]),
            is_new_level=join([part.is_new_level for part in judged]),
        ),
        value=join([part.value for part in parts]),
        expected=join([part.expected for part in parts]),
        lower=join([part.lower for part in parts]),
        upper=join([part.upper for part in parts]),
    )
