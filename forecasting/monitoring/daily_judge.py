"""Judges the days that are new or were corrected, of many series at once, and keeps what is unusual."""

import datetime as dt
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from forecasting.card import SeriesCard
from forecasting.domain import Kind, Sensitivity, SeriesKey, to_date
from forecasting.known_days.events import NO_EVENTS, Event, Events
from forecasting.known_days.holiday_calendar import SCHOOL
from forecasting.known_days.learning import name_known_days
from forecasting.latest_windows import SPARE_DAYS
from forecasting.monitoring.comparison import (
    Comparison,
    RecentDays,
    compare,
    keep_candidates,
    lay_out,
    plan_comparison,
    split_plan,
)
from forecasting.monitoring.rule import LEVEL_DAYS, Reason
from forecasting.monitoring.scores import AHEAD, LeastChange
from forecasting.monitoring.wording import DayValues, UnusualDay, describe
from forecasting.predictor import Windows
from forecasting.settings.schema import Config
from forecasting.warehouse.anomaly_store import DaysToCompare, JudgedDay, read_days_to_compare, write_judged_days
from forecasting.warehouse.queries import Connection

MOST_JUDGED = 7  # days of a series: older ones are no news, and what was told of them stays as it is

Predict = Callable[[Windows], Awaitable[Float[np.ndarray, "windows days levels"]]]


@dataclass(frozen=True)
class Judge:
    """Who forecasts, and how days are to be judged. `predict` forecasts AHEAD days."""

    config: Config
    version: str
    context_length: int
    levels: Sequence[float]
    predict: Predict
    events: Events = NO_EVENTS  # by the present names of the sites

    async def judge(
        self, connection: Connection, keys: Sequence[SeriesKey], cards: Sequence[SeriesCard], *, today: dt.date
    ) -> Counter[str]:
        """How many series had days to judge, and how many of these days were told, kept, corrected and withdrawn. Days
        are judged once, and again only if they change.
        """
        days = await read_days_to_compare(
            connection,
            keys,
            today=today,
            num_days=self.context_length + MOST_JUDGED + AHEAD + SPARE_DAYS,
            masked=self.config.verdicts.masked,
            most_judged=MOST_JUDGED,
        )
        if days is None:
            return Counter()
        keys = [keys[place] for place in days.places]
        cards = [self._add_country(cards[place], key) for place, key in zip(days.places, keys, strict=True)]
        recent = lay_out(
            days.counts,
            days.days,
            days.values,
            days.masked,
            cards,
            num_days=self.context_length + MOST_JUDGED + AHEAD,
            missing=self.config.data.missing,
        )
        recent = replace(recent, events=[self.events.of(site) for site, _ in keys])
        comparison = await self._compare(recent, _count_days(days, recent))
        judged = _list_days(recent, comparison, keys, days.first_days, self.config)
        last = (recent.first_days + recent.history.shape[1] - 1).tolist()
        return Counter(series=len(keys)) + await write_judged_days(
            connection,
            judged,
            until=list(zip(keys, last, strict=True)),
            new_levels=_find_new_levels(comparison, keys, last),
            version=self.version,
            read_at=days.read_at,
        )

    def _add_country(self, card: SeriesCard, key: SeriesKey) -> SeriesCard:
        """Holidays soften, also of a series whose version has not learned their effects."""
        return card if card.country else replace(card, country=self.config.data.country_of(key[0]))

    async def _compare(self, recent: RecentDays, num_days: int) -> Comparison:
        alerts = self.config.alerts
        plan = plan_comparison(recent, num_days=num_days, context_length=self.context_length)
        outer, middle = split_plan(plan)
        quantiles = await self.predict(outer.windows)
        rest = keep_candidates(middle, outer, quantiles, levels=self.levels)
        least = LeastChange(alerts.least_change, alerts.least_count)
        parts = [(outer, quantiles), (rest, await self.predict(rest.windows))]
        return compare(parts, levels=self.levels, least=least)


def describe_changes(changes: Counter[str]) -> str:
    """What `Judge.judge` counted, as the end of a sentence."""
    parts = {
        "told": "{} unusual",
        "kept": "{} that are told at a higher sensitivity or go on with others",
        "corrected": "{} unusual after a correction",
        "withdrawn": "{} as expected after a correction",
    }
    words = [text.format(f"{changes[name]:,}") for name, text in parts.items() if changes[name]]
    return ", ".join(words) or "none unusual"


def _count_days(days: DaysToCompare, recent: RecentDays) -> int:
    """The days to judge, of the series that has most of them."""
    ends = recent.first_days + recent.history.shape[1]
    return int((ends - days.first_days).max())


def _list_days(
    recent: RecentDays,
    comparison: Comparison,
    keys: Sequence[SeriesKey],
    first_days: Int[np.ndarray, " series"],
    config: Config,
) -> list[JudgedDay]:
    """Of each series, the days from its first day on that could be judged."""
    num_days = comparison.value.shape[1]
    start = recent.first_days + recent.history.shape[1] - num_days
    columns = np.arange(num_days)
    due = (start[:, None] + columns >= first_days[:, None]) & np.isfinite(comparison.judgement.score)
    return [
        _describe_day(recent, keys[row], int(start[row]) + column, _Place(comparison, row, column), config)
        for row, column in np.argwhere(due).tolist()
    ]


class _Place(NamedTuple):
    """One day of one series of a comparison."""

    comparison: Comparison
    row: int
    column: int

    @property
    def score(self) -> float:
        return float(self.comparison.judgement.score[self.row, self.column])

    @property
    def reason(self) -> Reason:
        return Reason(int(self.comparison.judgement.reason[self.row, self.column]))

    def read_values(self, card: SeriesCard) -> DayValues:
        """In the source's units, rounded as forecasts are: counts to integers, others to what a float32 holds."""
        values = (card.unit_scale * float(part[self.row, self.column]) for part in self.comparison.values)
        value, *expected = (float(f"{each:.6g}") if card.kind is not Kind.count else each for each in values)
        return DayValues(value, *(float(round(each)) if card.kind is Kind.count else each for each in expected))


def _describe_day(recent: RecentDays, key: SeriesKey, day: int, place: _Place, config: Config) -> JudgedDay:
    card, (site, metric), score = recent.cards[place.row], key, place.score
    values = place.read_values(card)
    level = _lowest_sensitivity(score)
    unusual = UnusualDay(
        site, metric, card.kind, card.unit_scale, card.additive, to_date(day), values, score, place.reason
    )
    return JudgedDay(
        site=site,
        metric=metric,
        day=to_date(day),
        kind=place.reason.name if level else "",
        **values._asdict(),
        score=score,
        sensitivity=level.value if level else "",
        threshold=config.alerts.sensitivity_of(site, metric).threshold,
        cause=_name_cause(card, recent.find_events(place.row), day) if level else "",
        text=describe(unusual) if level else "",
    )


def _lowest_sensitivity(score: float) -> Sensitivity | None:
    """None if no sensitivity tells it."""
    levels = (Sensitivity.low, Sensitivity.medium, Sensitivity.high)
    return next((level for level in levels if abs(score) > level.threshold), None)


def _name_cause(card: SeriesCard, events: Sequence[Event], day: int) -> str:
    """The holiday on the day, the day beside one, and events; empty for none."""
    name = name_known_days(card.country, events, range(day, day + 1)).get(day, "")
    return "" if name.startswith(SCHOOL) else name


def _find_new_levels(
    comparison: Comparison, keys: Sequence[SeriesKey], last: Sequence[int]
) -> list[tuple[SeriesKey, int]]:
    """The days that began a new level, which shows two days later."""
    is_new, num_days = comparison.judgement.is_new_level, comparison.value.shape[1]
    return [
        (keys[row], last[row] - num_days + 1 + column - (LEVEL_DAYS - 1))
        for row, column in np.argwhere(is_new).tolist()
    ]
