"""What a version promised beside what came true: its errors on days that training had not seen, and those of the
forecasts that were kept. Pure.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from forecasting.card import SeriesCard
from forecasting.domain import SeriesKey
from forecasting.evaluation.comparison import MIN_WEEKS_TO_TEST, find_p_value
from forecasting.warehouse.outcome_store import Outcomes

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Promise:
    """Of a version about a series, from its test part; None: not defined, or the version was not trained on it."""

    error: float | None = None  # mean absolute error, in the source's units
    naive_error: float | None = None
    coverage_80: float | None = None

    @classmethod
    def of(cls, card: SeriesCard | None) -> "Promise":
        measures: Mapping[str, Any] = card.metrics if card else {}  # Any: numbers, null, or the reason for a null
        naive: Mapping[str, Any] = measures.get("seasonal_naive", {})
        return cls(measures.get("mae"), naive.get("mae"), measures.get("coverage_80"))

    @property
    def relative_error(self) -> float | None:
        return self.error / self.naive_error if self.error is not None and self.naive_error else None


@dataclass(frozen=True)
class Accuracy:
    """Of one series' forecasts by one version, or of all of its series."""

    version: str
    site: str | None  # None: all
    metric: str | None
    num_days: int
    num_weeks: int
    promised: Promise
    realised: Promise
    pinball: float | None
    coverage_90: float
    p_value: float | None  # of a difference this large by chance; None: too few weeks, or nothing was promised
    relative_errors: tuple[float | None, float | None] = (None, None)  # promised and realised

    @property
    def verdict(self) -> str:
        promised, realised = self.relative_errors
        if realised is None:
            return "The seasonal naive forecast had no error: there is nothing to compare with."
        times = f"{realised:.2f} times the seasonal naive forecast's"
        if promised is None:
            return f"The error was {times}; nothing was promised."
        text = f"The error was {times}, {promised:.2f} was promised"
        if self.p_value is None:
            return f"{text}. That is {self.num_weeks} weeks; {MIN_WEEKS_TO_TEST} are needed to tell it from chance."
        if self.p_value >= SIGNIFICANT:
            return f"{text}: no more than chance (p = {self.p_value:.2f})."
        direction = "worse" if realised > promised else "better"
        return f"{text}: {direction} by more than chance (p = {max(self.p_value, 0.001):.3f})."


def judge_series(outcomes: Outcomes, card: SeriesCard | None) -> Accuracy:
    promised, num_days = Promise.of(card), int(outcomes.num_days.sum())
    realised = Promise(
        float(outcomes.absolute_error.sum()) / num_days,
        float(outcomes.naive_error.sum()) / num_days,
        outcomes.inside_80 / num_days,
    )
    differences = _weekly_differences(outcomes, promised)
    return Accuracy(
        version=outcomes.version,
        site=outcomes.site,
        metric=outcomes.metric,
        num_days=num_days,
        num_weeks=len(outcomes.weeks),
        promised=promised,
        realised=realised,
        pinball=outcomes.pinball / num_days,
        coverage_90=outcomes.inside_90 / num_days,
        p_value=None if differences is None else find_p_value(differences),
        relative_errors=(promised.relative_error, realised.relative_error),
    )


def judge_versions(outcomes: Sequence[Outcomes], cards: Mapping[str, Mapping[SeriesKey, SeriesCard]]) -> list[Accuracy]:
    """All series of each version together, each series weighted alike. `cards` are those of each version."""
    versions = dict.fromkeys(each.version for each in outcomes)
    return [
        _pool(version, [each for each in outcomes if each.version == version], cards.get(version, {}))
        for version in versions
    ]


def _pool(version: str, outcomes: Sequence[Outcomes], cards: Mapping[SeriesKey, SeriesCard]) -> Accuracy:
    each = [judge_series(part, cards.get((part.site, part.metric))) for part in outcomes]
    num_days = sum(series.num_days for series in each)
    pairs = [series.relative_errors for series in each]
    both = [(promised, realised) for promised, realised in pairs if promised and realised]
    promised = _geometric_mean([promised for promised, _ in both])
    realised = _geometric_mean([realised for _, realised in both or pairs])
    weeks = _mean_by_week([(part, Promise.of(cards.get((part.site, part.metric)))) for part in outcomes])
    coverages = [series.promised.coverage_80 for series in each if series.promised.coverage_80 is not None]
    return Accuracy(
        version=version,
        site=None,
        metric=None,
        num_days=num_days,
        num_weeks=len({week for part in outcomes for week in part.weeks.tolist()}),
        promised=Promise(coverage_80=float(np.mean(coverages)) if coverages else None),
        realised=Promise(coverage_80=sum(part.inside_80 for part in outcomes) / num_days),
        pinball=None,  # it has the unit of its series
        coverage_90=sum(part.inside_90 for part in outcomes) / num_days,
        p_value=find_p_value(weeks) if promised is not None else None,
        relative_errors=(promised, realised),
    )


def _weekly_differences(outcomes: Outcomes, promised: Promise) -> Float[np.ndarray, " weeks"] | None:
    """How far the error was above the promised one, each week, in units of the seasonal naive forecast's mean error.

    Promised is a share of the seasonal naive forecast's error on the same days: in restless weeks both are larger.
    """
    share = promised.relative_error
    if share is None or not outcomes.naive_error.any():
        return None
    mean = outcomes.naive_error.sum() / outcomes.num_days.sum()
    return np.asarray((outcomes.absolute_error - share * outcomes.naive_error) / outcomes.num_days / mean)


def _mean_by_week(series: Sequence[tuple[Outcomes, Promise]]) -> Float[np.ndarray, " weeks"]:
    """Series of one site rise and fall together, so a week counts once, however many series it has."""
    by_week: dict[int, list[float]] = {}
    for outcomes, promised in series:
        differences = _weekly_differences(outcomes, promised)
        if differences is not None:
            for week, difference in zip(outcomes.weeks.tolist(), differences.tolist(), strict=True):
                by_week.setdefault(week, []).append(difference)
    return np.array([np.mean(by_week[week]) for week in sorted(by_week)], np.float64)


def _geometric_mean(ratios: Sequence[float | None]) -> float | None:
    logs = [math.log(ratio) for ratio in ratios if ratio]
    return math.exp(float(np.mean(logs))) if logs else None


@dataclass(frozen=True)
class VersionComparison:
    """Two versions on the same days of the same series, as far as both have forecast them."""

    names: tuple[str, str]
    num_series: int
    num_weeks: int
    ratio: float | None  # of the first one's error to the second one's, geometric mean over series
    p_value: float | None  # None: too few weeks
    num_weeks_needed: int | None  # for a difference as large to be told from chance; None: not known

    @property
    def verdict(self) -> str:
        first, second = self.names
        if self.ratio is None:
            return f"{first} and {second} have forecast no day in common, of those that are known by now."
        direction = "larger" if self.ratio > 1 else "smaller"
        share = abs(self.ratio - 1)
        text = (
            f"On {self.num_series:,} series in {self.num_weeks} weeks the error of {first} was {share:.1%} {direction} "
            f"than that of {second}"
        )
        if self.p_value is None:
            return f"{text}. {MIN_WEEKS_TO_TEST} weeks are needed to tell that from chance."
        if self.p_value < SIGNIFICANT:
            return f"{text}: more than chance (p = {max(self.p_value, 0.001):.3f})."
        needed = f" About {self.num_weeks_needed} weeks would tell." if self.num_weeks_needed else ""
        return f"{text}: no more than chance (p = {self.p_value:.2f}).{needed}"


def compare_versions(outcomes: Sequence[Outcomes], first: str, second: str) -> VersionComparison:
    """Weeks count where both versions have forecast as many days of a series."""
    by_version = {
        name: {(each.site, each.metric): each for each in outcomes if each.version == name} for name in (first, second)
    }
    pairs = [(ours, by_version[second][key]) for key, ours in by_version[first].items() if key in by_version[second]]
    by_week: dict[int, list[float]] = {}
    ratios: list[float | None] = []
    for ours, theirs in pairs:
        places = [(place, other) for place, week in enumerate(ours.weeks.tolist())
                  for other in np.flatnonzero(theirs.weeks == week).tolist()
                  if theirs.num_days[other] == ours.num_days[place]]  # fmt: skip
        if not places:
            continue
        left, right = (np.array(column) for column in zip(*places, strict=True))
        scale = theirs.absolute_error[right].sum() / theirs.num_days[right].sum()
        if not scale:
            continue
        ratios.append(float(ours.absolute_error[left].sum() / theirs.absolute_error[right].sum()))
        differences = (ours.absolute_error[left] - theirs.absolute_error[right]) / ours.num_days[left] / scale
        for week, difference in zip(ours.weeks[left].tolist(), differences.tolist(), strict=True):
            by_week.setdefault(week, []).append(difference)
    weekly = np.array([np.mean(by_week[week]) for week in sorted(by_week)], np.float64)
    p_value = find_p_value(weekly)
    return VersionComparison(
        (first, second), len(ratios), len(weekly), _geometric_mean(ratios), p_value, _count_weeks_needed(weekly)
    )


def _count_weeks_needed(weekly: Float[np.ndarray, " weeks"]) -> int | None:
    """For two standard errors, if the mean and the spread stay as they are."""
    if len(weekly) < MIN_WEEKS_TO_TEST or not weekly.mean():
        return None
    return math.ceil((2 * float(weekly.std(ddof=1)) / abs(float(weekly.mean()))) ** 2)
