"""How far numbers that are known ahead, such as weather or a price, move a series from its usual level. Pure.

Effects are in the units of effects.py. What is learned of a series rests on the days it is given and on nothing later.
"""

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

import numpy as np
from jaxtyping import Float

from forecasting.domain import EARLIEST_DATE, Kind, to_date, to_day
from forecasting.errors import DataError, DuplicateDays, name_some
from forecasting.known_days.effects import MIN_SAME_WEEKDAYS, SAME_WEEKDAYS, to_even

MIN_LEARNED_DAYS = 56  # with known neighbours; from fewer, nothing is learned
PRIOR_DAYS = 4.0  # without any effect, that the learned ones are pulled toward
OUTLYING = 3.0  # deviations beyond so many robust standard deviations count for less
REFITS = 3  # which leave little of what more would change
NORMAL_MAD = 0.6745  # median absolute deviation of a normal distribution with variance 1
SMALLEST_SPREAD = 1e-9  # of its size: below, a regressor is constant
ALL_SITES = ""
LATEST_DATE = dt.date(2100, 1, 1)


@dataclass(frozen=True)
class DailyValues:
    """Of one regressor, NaN where unknown; `first_day` in days since 1970-01-01."""

    first_day: int
    values: Float[np.ndarray, " days"]

    @property
    def last_day(self) -> int:
        """That has a value; before the first if none has."""
        known = np.flatnonzero(np.isfinite(self.values))
        return self.first_day + int(known[-1]) if known.size else self.first_day - 1

    def on(self, first_day: int, num_days: int) -> Float[np.ndarray, " num_days"]:
        days = np.full(num_days, np.nan)
        start = max(first_day, self.first_day)
        stop = min(first_day + num_days, self.first_day + len(self.values))
        if start < stop:
            days[start - first_day : stop - first_day] = self.values[start - self.first_day : stop - self.first_day]
        return days


@dataclass(frozen=True)
class Regressors:
    """All that is known of them, past and ahead, by site and name: a site's own values, and those of ALL_SITES."""

    by_site: Mapping[str, Mapping[str, DailyValues]] = field(default_factory=lambda: MappingProxyType({}))

    @cached_property
    def names(self) -> list[str]:
        return sorted({name for values in self.by_site.values() for name in values})

    def also_as(self, names: Mapping[str, str]) -> "Regressors":
        """Sites by their earlier names, too. `names` has the present name of each."""
        earlier = {name: {**self.by_site.get(name, {}), **self.by_site.get(now, {})} for name, now in names.items()}
        return Regressors({**self.by_site, **earlier})

    def find(
        self, site: str, names: Sequence[str], *, first_day: int, num_days: int
    ) -> Float[np.ndarray, "num_days regressors"]:
        """NaN where unknown. A site's own value of a day comes before that of all sites."""
        columns = np.full((num_days, len(names)), np.nan)
        for group in (site, ALL_SITES):
            for place, name in enumerate(names):
                if values := self.by_site.get(group, {}).get(name):
                    column = columns[:, place]
                    columns[:, place] = np.where(np.isnan(column), values.on(first_day, num_days), column)
        return columns


NO_REGRESSORS = Regressors()


@dataclass
class RegressorRows:
    """The rows of a table for one site, or for ALL_SITES, in any order."""

    site: str
    names: tuple[str, ...]
    days: list[int] = field(default_factory=list)  # since 1970-01-01
    values: list[Sequence[float]] = field(default_factory=list)  # of each name; NaN where unknown

    def add(self, day: int, values: Sequence[float]) -> None:
        self.days.append(day)
        self.values.append(values)

    def lay_out(self, table: str) -> dict[str, DailyValues]:
        """By name, on one calendar. `table` is for errors: DuplicateDays, and DataError for impossible dates."""
        days = np.array(self.days, np.int64)
        site = f"the site {self.site}" if self.site else "all sites"
        unique, counts = np.unique(days, return_counts=True)
        if (counts > 1).any():
            place = int(np.argmax(counts > 1))
            day = to_date(unique[place])
            raise DuplicateDays(f"{table} has {counts[place]} rows of {day} for {site}. Keep one row a day.")
        for day in (unique[0], unique[-1]):
            if not to_day(EARLIEST_DATE) <= day <= to_day(LATEST_DATE):
                raise DataError(f"{table} has a row dated {to_date(day)} for {site}. Correct its date.")
        values = np.array(self.values, np.float64).reshape(len(days), len(self.names))
        columns = np.full((int(unique[-1] - unique[0]) + 1, len(self.names)), np.nan)
        columns[days - unique[0]] = np.where(np.isfinite(values), values, np.nan)
        return {name: DailyValues(int(unique[0]), columns[:, place]) for place, name in enumerate(self.names)}


@dataclass(frozen=True)
class RegressorEffect:
    """What one regressor does to one series."""

    name: str
    coefficient: float  # of a value one `spread` above the `mean`
    mean: float
    spread: float  # standard deviation of the values that it was learned from
    low: float  # the least and the greatest of these
    high: float
    gain: float = 0.0  # share of the error that it took off in training's backtest

    def find_effects(self, values: Float[np.ndarray, " days"]) -> Float[np.ndarray, " days"]:
        """Values outside the range that was learned from count as its ends, unknown ones as the mean."""
        known = np.where(np.isfinite(values), np.clip(values, self.low, self.high), self.mean)
        return np.asarray(self.coefficient * (known - self.mean) / self.spread)


def check_regressors(
    regressors: Regressors, *, table: str, sites: Collection[str], first_day: int, cutoff: int
) -> list[str]:
    """Notes about those that are not known ahead. Raises DataError if any cannot be learned from."""
    relevant = {site: values for site, values in regressors.by_site.items() if site in (ALL_SITES, *sites)}
    if not relevant:
        raise DataError(
            f"data.regressors is {table}, whose sites are {name_some(regressors.by_site)}, but the series are of "
            f"{name_some(sites)}. Name the sites as they are there, or leave the site empty for all."
        )
    notes = []
    for name in regressors.names:
        columns = [columns[name] for columns in relevant.values() if name in columns]
        known = np.concatenate([column.values[np.isfinite(column.values)] for column in columns] or [np.empty(0)])
        if not known.size or np.ptp(known) == 0:
            value = f"the value {known[0]:.6g} in all rows" if known.size else "no value in any row"
            raise DataError(f"The column {name} of {table} has {value}, from which nothing is learned. Remove it.")
        last = max(column.last_day for column in columns)
        if last < first_day or min(column.first_day for column in columns) > cutoff:
            raise DataError(
                f"The column {name} of {table} has no value from {to_date(first_day)} to {to_date(cutoff)}, the days "
                "of the series. Add these days, or remove it."
            )
        if last <= cutoff:
            notes.append(
                f"{name} has no value after {to_date(last)}: forecasts take its mean until {table} has the days ahead"
            )
    return notes


def sum_effects(
    effects: Sequence[RegressorEffect], values: Float[np.ndarray, "days regressors"]
) -> Float[np.ndarray, " days"]:
    """`values` has a column for each of the effects."""
    columns = [effect.find_effects(values[:, place]) for place, effect in enumerate(effects)]
    return np.asarray(sum(columns, np.zeros(len(values))))


def learn_regressors(
    values: Float[np.ndarray, " days"],
    inputs: Float[np.ndarray, "days regressors"],
    names: Sequence[str],
    *,
    kind: Kind,
    left_out: Collection[int] = (),
) -> tuple[RegressorEffect, ...]:
    """From all of a series' past values and the regressors of the same days, NaN where unknown.

    How far each day lies from the average of the same weekdays of the three weeks on either side is regressed on how
    far the regressors do, so level, season and weekdays take no part. Ridge regression, in which outlying days count
    for less. Regressors that do not change, or of too few days, are left out; so are the days at the columns
    `left_out`, such as holidays. What the unknown days of one regressor say about the others is not used.
    """
    even = to_even(values, kind)
    even[list(left_out)] = np.nan
    known = np.isfinite(even)
    usable = [place for place in range(len(names)) if _varies(inputs[known, place])]
    inputs = inputs[:, usable]
    known &= np.isfinite(inputs).all(1)
    if not usable or known.sum() < MIN_LEARNED_DAYS:
        return ()
    seen = inputs[known]
    mean, spread = seen.mean(0), seen.std(0)
    if not np.all(spread > SMALLEST_SPREAD * np.abs(mean)):
        return ()
    rows = np.column_stack([even, (inputs - mean) / spread])
    deviation = _deviate(np.where(known[:, None], rows, np.nan))
    if len(deviation) < MIN_LEARNED_DAYS:
        return ()
    coefficients = _regress(deviation[:, 1:], deviation[:, 0])
    columns = zip(coefficients, mean, spread, seen.min(0), seen.max(0), strict=True)
    return tuple(
        RegressorEffect(names[place], *(float(number) for number in column))
        for place, column in zip(usable, columns, strict=True)
    )


def _varies(values: Float[np.ndarray, " days"]) -> bool:
    known = values[np.isfinite(values)]
    return len(known) >= MIN_LEARNED_DAYS and bool(np.ptp(known) > SMALLEST_SPREAD * np.abs(known).max())


def _deviate(rows: Float[np.ndarray, "days columns"]) -> Float[np.ndarray, "known columns"]:
    """From the average of the same weekdays around each day, of the days that have MIN_SAME_WEEKDAYS such."""
    reach = int(SAME_WEEKDAYS.max())
    padded = np.pad(rows, ((reach, reach), (0, 0)), constant_values=np.nan)
    around = np.stack([padded[reach + shift : reach + shift + len(rows)] for shift in SAME_WEEKDAYS])
    number = np.isfinite(around[..., 0]).sum(0)
    deviation = rows - np.nansum(around, axis=0) / np.maximum(number, 1)[:, None]
    return np.asarray(deviation[np.isfinite(rows[:, 0]) & (number >= MIN_SAME_WEEKDAYS)])


def _regress(
    inputs: Float[np.ndarray, "days regressors"], target: Float[np.ndarray, " days"]
) -> Float[np.ndarray, " regressors"]:
    """Days that lie far from the last fit weigh less in the next one (Huber, 1964)."""
    coefficients = _solve(inputs, target, np.ones(len(target)))
    for _ in range(REFITS):
        distance = np.abs(target - inputs @ coefficients)
        limit = max(OUTLYING * float(np.median(distance)) / NORMAL_MAD, SMALLEST_SPREAD)
        coefficients = _solve(inputs, target, limit / np.maximum(distance, limit))
    return coefficients


def _solve(
    inputs: Float[np.ndarray, "days regressors"], target: Float[np.ndarray, " days"], weight: Float[np.ndarray, " days"]
) -> Float[np.ndarray, " regressors"]:
    weighted = inputs * weight[:, None]
    matrix = weighted.T @ inputs + PRIOR_DAYS * np.eye(inputs.shape[1])
    return np.asarray(np.linalg.solve(matrix, weighted.T @ target))
