"""Days beside the forecasts that were made, or would have been made, in the week before each of them. Pure numpy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from forecasting.card import SeriesCard, make_windows
from forecasting.domain import KIND_CODES, MIN_KNOWN_DAYS, RECENT_DAYS, Missing
from forecasting.known_days.events import Event, list_event_days
from forecasting.known_days.holiday_calendar import AFTER, BEFORE, SCHOOL, name_days
from forecasting.latest_windows import cut_latest_windows
from forecasting.monitoring.rule import Judgement, Reason, find_candidates, judge
from forecasting.monitoring.scores import AHEAD, DayScores, LeastChange, score_days
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


def lay_out(
    counts: Int[np.ndarray, " series"],
    days: Int[np.ndarray, " rows"],
    values: Float[np.ndarray, " rows"],
    masked: Bool[np.ndarray, " rows"],
    cards: Sequence[SeriesCard],
    *,
    num_days: int,
    missing: Missing,
) -> RecentDays:
    """The last days of each series, up to its own last value. The rows of one series follow those of another; values
    are in the source's units, and `masked` those that a verdict masks.
    """
    scaled = values / np.repeat([card.unit_scale for card in cards], counts)
    seen, counted = (
        cut_latest_windows(
            counts,
            days,
            each,
            [card.kind for card in cards],
            context_length=num_days,
            missing=missing,
            can_be_zero=[card.can_be_zero for card in cards],
        )
        for each in (np.where(masked, np.inf, scaled), scaled)
    )
    return RecentDays(cards, seen.history, counted.history, seen.first_days)


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
    """The forecasts that a comparison needs: of AHEAD days from the day before each of the days that are due."""

    days: RecentDays
    num_days: int
    context_length: int
    is_due: Bool[np.ndarray, "series judged"]
    softening: Float[np.ndarray, "series judged"]

    @property
    def windows(self) -> Windows:
        """Of each series one after another, in the order of days."""
        return _cut_windows(self.days, self.is_due, self.context_length)


def plan_comparison(days: RecentDays, *, num_days: int, context_length: int) -> Plan:
    """Of the last `num_days` days of each series. Forecasts begin AHEAD days before them, where there are enough known
    days.
    """
    num_judged = min(num_days + AHEAD - 1, days.history.shape[1] - 1)
    first = days.first_days + days.history.shape[1] - num_judged
    softening = [
        soften(card.country, days.find_events(row), range(day, day + num_judged))
        for row, (card, day) in enumerate(zip(days.cards, first.tolist(), strict=True))
    ]
    is_due = _has_enough(days, num_judged)
    return Plan(days, num_days, context_length, is_due, np.reshape(softening, is_due.shape))


def split_plan(plan: Plan) -> tuple[Plan, Plan]:
    """What all series need to be judged, and what only those do that `keep_candidates` then leaves of it."""
    num_judged = plan.is_due.shape[1]
    is_middle = np.zeros(num_judged, bool)
    is_middle[max(0, num_judged - AHEAD + 1) : max(0, num_judged - plan.num_days)] = True
    return replace(plan, is_due=plan.is_due & ~is_middle), replace(plan, is_due=plan.is_due & is_middle)


def keep_candidates(
    middle: Plan, outer: Plan, quantiles: Float[np.ndarray, "windows days levels"], *, levels: Sequence[float]
) -> Plan:
    """Without the series that are as expected, whatever the middle forecasts say."""
    scores = _score(outer, _align(_place([(outer, quantiles)], levels)), None)
    is_candidate = np.any(find_candidates(scores)[:, -outer.num_days :], axis=1, keepdims=True)
    return replace(middle, is_due=middle.is_due & is_candidate)


def compare(
    parts: Sequence[tuple[Plan, Float[np.ndarray, "_ days levels"]]],
    *,
    levels: Sequence[float],
    least: LeastChange | None = None,
) -> Comparison:
    """The days beside the forecasts of a plan's windows, or of those that it was split into, in the model's units."""
    plan = parts[0][0]
    bands = _align(_place(parts, levels))
    judged = judge(_score(plan, bands, least))
    observed = plan.days.observed[:, -bands.shape[1] :].astype(np.float64)
    return _cut(_describe(judged, observed, bands.astype(np.float64), plan.days.cards), plan.num_days)


def _place(
    parts: Sequence[tuple[Plan, Float[np.ndarray, "_ days levels"]]], levels: Sequence[float]
) -> Float[np.ndarray, "series judged days kept"]:
    """The quantiles by the day before which they were made; NaN where none were."""
    kept = np.full((*parts[0][0].is_due.shape, AHEAD, len(LEVELS)), np.nan, np.float32)
    for plan, quantiles in parts:
        kept[plan.is_due] = quantiles[..., [list(levels).index(level) for level in LEVELS]]
    return kept


def _score(plan: Plan, bands: Float[np.ndarray, "series judged ahead kept"], least: LeastChange | None) -> DayScores:
    observed = plan.days.observed[:, -bands.shape[1] :].astype(np.float64)
    kinds = np.array([KIND_CODES[card.kind] for card in plan.days.cards], np.int64)
    scored = bands[..., SCORED].astype(np.float64)
    return score_days(observed, scored, kinds, softening=plan.softening, least=least)


def soften(country: str, events: Sequence[Event], days: range) -> Float[np.ndarray, " days"]:
    """What the score of each day is divided by. A real outage on a holiday is still told."""
    divisors = np.ones(len(days))
    for day, name in (name_days(country, days) if country else {}).items():
        if not name.startswith(SCHOOL):
            divisors[day - days.start] = BESIDE if name.startswith((BEFORE, AFTER)) else HOLIDAY
    for day, _ in list_event_days(events, days):
        divisors[day - days.start] = HOLIDAY
    return divisors


def _has_enough(days: RecentDays, num_judged: int) -> Bool[np.ndarray, "series judged"]:
    """Whether there are enough known days before each of the last days to forecast from."""
    known = np.isfinite(days.history[:, -num_judged - RECENT_DAYS : -1])
    total = np.pad(np.cumsum(known, axis=1), ((0, 0), (num_judged + RECENT_DAYS - known.shape[1], 0)))
    return np.asarray(total[:, RECENT_DAYS:] - total[:, :-RECENT_DAYS] >= MIN_KNOWN_DAYS)


def _cut_windows(days: RecentDays, is_due: Bool[np.ndarray, "series judged"], context_length: int) -> Windows:
    """A window up to the day before each of the days that are due."""
    num_columns = is_due.shape[1] + context_length
    missing = max(0, num_columns - days.history.shape[1])
    history = np.pad(days.history[:, -num_columns:], ((0, 0), (missing, 0)), constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(history[:, :-1], context_length, axis=1)
    rows, columns = np.nonzero(is_due)
    first_days = days.first_days + days.history.shape[1] - num_columns
    cards = [days.cards[row] for row in rows.tolist()]
    events = [days.find_events(row) for row in rows.tolist()]
    return make_windows(cards, windows[rows, columns], first_days[rows] + columns, days_ahead=AHEAD, events=events)


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
