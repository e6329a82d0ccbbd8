"""Panel: many series of daily values on one calendar, with a verdict on every day. Pure numpy: no clock, no server."""

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from forecasting.domain import MIN_DAYS, MIN_KNOWN_DAYS, Kind, Missing, Unit
from forecasting.errors import DuplicateDays, TooFewDays, UnknownMetric, UnknownSite
from forecasting.settings.schema import MetricConfig

EPOCH = dt.date(1970, 1, 1)


class Verdict(IntEnum):
    """What is known of a day of a series."""

    before = 0  # the series had not begun, or has no value any more
    observed = 1
    gap = 2  # the source has no row for a day between two observed ones
    unmeasured = 3  # the source has the day, but NULL or NaN for the value
    invalid = 4  # the source has a value that cannot be: infinite, or negative traffic
    outage = 5  # nothing was counted where much always is
    partial = 6  # some of the day's hours are missing
    bot = 7  # a spike that nobody announced and that did not last
    definition_break = 8  # counted in another way than now


MASKED = {
    Verdict.invalid: "with a value that cannot be",
    Verdict.unmeasured: "without a value in its row",
    Verdict.outage: "of an outage",
    Verdict.partial: "without some of its usual hours",
    Verdict.bot: "of suspected bots",
    Verdict.definition_break: "counted in another way than now",
}


@dataclass(frozen=True)
class Series:
    """Who a row of a panel is. `unit_scale`: what the panel's values are multiplied by to be in the source's unit."""

    site: str
    metric: str
    kind: Kind = Kind.count
    additive: bool = True
    unit_scale: float = 1.0

    @property
    def name(self) -> str:
        return f"{self.metric} of {self.site}"


def describe_series(site: str, metric: str, said: MetricConfig, *, otherwise: Kind) -> Series:
    """A series as its settings say; `otherwise` is its kind where they are silent. Only a rate has a unit."""
    kind = said.kind or (Kind.rate if said.unit else otherwise)
    return Series(
        site=site,
        metric=metric,
        kind=kind,
        additive=kind is Kind.count if said.additive is None else said.additive,
        unit_scale=100.0 if kind is Kind.rate and said.unit is Unit.percent else 1.0,
    )


@dataclass(frozen=True)
class Observations:
    """What a source says of one series: days since 1970-01-01 in any order, and their values.

    `verdicts` name the days that are not to be believed; what they are masked for, their values being infinite.
    """

    series: Series
    days: Int[np.ndarray, " days"]
    values: Float[np.ndarray, " days"]
    verdicts: Mapping[int, Verdict] = field(default_factory=dict)


@dataclass(frozen=True)
class Panel:
    """Values [series, days] in float32, NaN where unknown; `first_day` in days since 1970-01-01.

    `notes` are what was found odd while it was built, a sentence each, for people to read.
    """

    series: tuple[Series, ...]
    values: Float[np.ndarray, "series days"]
    first_day: int
    verdicts: UInt8[np.ndarray, "series days"]
    notes: tuple[str, ...] = ()

    @property
    def cutoff(self) -> int:
        """The last complete day, in days since 1970-01-01."""
        return self.first_day + self.num_days - 1

    @property
    def num_days(self) -> int:
        return int(self.values.shape[1])

    def find(self, *, metric: str, site: str | None = None) -> int:
        """The row of a series. `site` may be left out where there is only one.

        Raises UnknownSite or UnknownMetric naming those that there are.
        """
        sites = sorted({series.site for series in self.series})
        if site is None and len(sites) > 1:
            raise UnknownSite(f"There are {len(sites)} sites: say which, one of {', '.join(sites)}.")
        site = site or sites[0]
        if site not in sites:
            raise UnknownSite(f"There is no site {site!r}. There are: {', '.join(sites)}.")
        rows = {series.metric: row for row, series in enumerate(self.series) if series.site == site}
        if metric not in rows:
            raise UnknownMetric(f"There is no metric {metric!r}. There are: {', '.join(sorted(rows))}.")
        return rows[metric]

    def count_known(self, row: int, cutoffs: Int[np.ndarray, " cutoffs"], num_days: int) -> Int[np.ndarray, " cutoffs"]:
        """Known days of a series among the last `num_days` up to each cutoff, a place in the panel."""
        until = np.concatenate([[0], np.isfinite(self.values[row]).cumsum()])
        return np.asarray(until[cutoffs + 1] - until[np.maximum(cutoffs + 1 - num_days, 0)])

    def latest_windows(self, context_length: int) -> "LatestWindows":
        """Of each series, the last days up to the last one with a value."""
        rows, places = np.nonzero(self.verdicts != Verdict.before)
        return latest_windows(
            np.bincount(rows, minlength=len(self.series)),
            self.first_day + places,
            self.values[rows, places].astype(np.float64),
            [series.kind for series in self.series],
            context_length=context_length,
            missing=Missing.mask,  # days that were missing have their zeros by now
        )

    def count_verdicts(self) -> dict[Verdict, int]:
        """Days of all series by their verdicts."""
        counts = np.bincount(self.verdicts.ravel(), minlength=len(Verdict))
        return {verdict: int(counts[verdict]) for verdict in Verdict}

    def tail(self, num_days: int) -> "Panel":
        """The last `num_days` days, or all where there are fewer."""
        start = max(0, self.num_days - num_days)
        return replace(
            self,
            values=self.values[:, start:],
            verdicts=self.verdicts[:, start:],
            first_day=self.first_day + start,
        )


@dataclass(frozen=True)
class LatestWindows:
    """The last days of many series, each up to the last that it has itself: what a forecast is made from."""

    history: Float[np.ndarray, "series context"]  # float32, NaN where unknown
    cutoffs: Int[np.ndarray, " series"]  # each one's last column, in days since 1970-01-01
    enough: Bool[np.ndarray, " series"]  # whether it has the days that a forecast needs

    @property
    def first_days(self) -> Int[np.ndarray, " series"]:
        """Each one's first column, in days since 1970-01-01."""
        return np.asarray(self.cutoffs - self.history.shape[1] + 1)


def to_day(date: dt.date) -> int:
    """Days since 1970-01-01."""
    return (date - EPOCH).days


def to_date(day: int | np.int64) -> dt.date:
    return EPOCH + dt.timedelta(days=int(day))


def build_panel(
    observations: Sequence[Observations],
    *,
    today: dt.date,
    missing: Missing = Missing.zero,
    named: Collection[str] = (),
    cutoff: int | None = None,
) -> Panel:
    """The panel of all series, up to the last complete day that any of them has, or a later `cutoff`, which is that
    of the whole where these are a share of it.

    Today's unfinished day and days in the future are left out. Values that cannot be, or are NaN, are masked. Days that
    the source does not have, between two that it has, are zero or masked as `missing` says; days before a series began,
    or after its last value, are masked always: nobody says that they were zero. A series of fewer than 30 days, zeros
    counted, is left out.

    Raises DuplicateDays; TooFewDays where no series is left, or a left-out one's metric is among the `named` ones.
    """
    notes: list[str] = []
    kept = [_drop_unfinished(one, today=today, notes=notes) for one in observations]
    for one in kept:
        _refuse_duplicates(one)
    kept = _drop_short(kept, missing=missing, named=named, notes=notes)
    first_day = min(int(one.days.min()) for one in kept)
    last_day = max(int(one.days.max()) for one in kept)
    num_days = max(last_day, last_day if cutoff is None else cutoff) - first_day + 1
    rows = [_lay_out(one, first_day=first_day, num_days=num_days, missing=missing, notes=notes) for one in kept]
    return Panel(
        series=tuple(one.series for one in kept),
        values=np.stack([values for values, _ in rows]),
        first_day=first_day,
        verdicts=np.stack([verdicts for _, verdicts in rows]),
        notes=tuple(dict.fromkeys(notes)),
    )


def latest_windows(
    counts: Int[np.ndarray, " series"],
    days: Int[np.ndarray, " rows"],
    values: Float[np.ndarray, " rows"],
    kinds: Sequence[Kind],
    *,
    context_length: int,
    missing: Missing = Missing.zero,
) -> LatestWindows:
    """Each series' window of the panel that `build_panel` would make of it, of thousands at once.

    `counts` rows of one series come after those of another, in any order, none of today or later; reaching further back
    than the window, if only by a row, they tell a gap at its beginning from days before the series began.
    """
    series = np.repeat(np.arange(len(counts)), counts)
    measured = ~np.isnan(values)
    first, last = (np.full(len(counts), edge, np.int64) for edge in (2**31, -(2**31)))  # where no value is
    np.minimum.at(first, series[measured], days[measured])
    np.maximum.at(last, series[measured], days[measured])
    place = days - (last - context_length + 1)[series]
    inside = (place >= 0) & (place < context_length)
    never_negative, at_most_one = (
        np.array([kind in which for kind in kinds], bool)[series] for which in ((Kind.count, Kind.rate), (Kind.rate,))
    )
    known = inside & ~out_of_range(values, never_negative, at_most_one)
    history = np.full((len(counts), context_length), np.nan, np.float32)
    history[series[known], place[known]] = values[known]
    num_days = np.bincount(series[np.isfinite(values)], minlength=len(counts))
    if missing is Missing.zero:
        gaps = np.arange(context_length) > (first - last + context_length - 1)[:, None]
        gaps[series[inside], place[inside]] = False
        history[gaps] = 0.0
        num_days = last - first + 1
    enough = (num_days >= MIN_DAYS) & (np.isfinite(history).sum(1) >= MIN_KNOWN_DAYS)
    return LatestWindows(history, last, enough)


def _drop_unfinished(one: Observations, *, today: dt.date, notes: list[str]) -> Observations:
    """Without today and the future."""
    unfinished = to_day(today)
    if np.any(one.days == unfinished):
        notes.append(f"{today} is not over: it is left out")
    future = np.sort(one.days[one.days > unfinished])
    if future.size:
        notes.append(f"{one.series.name}: {_days(future)} in the future left out ({_span(future)}; today is {today})")
    complete = one.days < unfinished
    return replace(one, days=one.days[complete], values=one.values[complete])


def _refuse_duplicates(one: Observations) -> None:
    days, counts = np.unique(one.days, return_counts=True)
    if np.any(counts > 1):
        twice = days[counts > 1]
        raise duplicate_days(one.series.name, twice.size, int(twice[0]))


def duplicate_days(name: str, num_days: int, first_day: int) -> DuplicateDays:
    """The error to raise, of a series by its name."""
    return DuplicateDays(
        f"{name} has more than one value for {_num_days(num_days)}, the first on {to_date(first_day)}. "
        "Keep one row a day, or add a `site` column if the rows are of different sites."
    )


def _drop_short(
    kept: list[Observations], *, missing: Missing, named: Collection[str], notes: list[str]
) -> list[Observations]:
    if not any(one.days.size for one in kept):
        raise TooFewDays(f"There is no complete day of data; at least {MIN_DAYS} are needed.")
    lengths = {one.series: _num_known(one, missing) for one in kept}
    short = [one for one in kept if lengths[one.series] < MIN_DAYS]
    for one in short:
        found = f"{one.series.name} has {_num_days(lengths[one.series])} of data; at least {MIN_DAYS} are needed"
        if one.series.metric in named or len(short) == len(kept):
            raise TooFewDays(f"{found}. Wait for more, or load older days.")
        notes.append(f"{found}: it is left out")
    return [one for one in kept if lengths[one.series] >= MIN_DAYS]


def _num_known(one: Observations, missing: Missing) -> int:
    """Days with a value, of which a missing one is zero where `missing` says so."""
    if missing is Missing.mask or not one.days.size:
        return int(np.isfinite(one.values).sum())
    return int(one.days.max() - one.days.min()) + 1


def _lay_out(
    one: Observations, *, first_day: int, num_days: int, missing: Missing, notes: list[str]
) -> tuple[Float[np.ndarray, " days"], UInt8[np.ndarray, " days"]]:
    """One series on the panel's calendar: its values, and the verdict on each of its days."""
    place = one.days - first_day
    values = np.full(num_days, np.nan, np.float32)
    verdicts = np.full(num_days, Verdict.before, np.uint8)
    verdicts[place.min() : place.max() + 1] = Verdict.gap
    unmeasured = np.isnan(one.values)
    invalid = _impossible(one) & ~unmeasured
    known = ~invalid & ~unmeasured
    verdicts[place[known]] = Verdict.observed
    verdicts[place[unmeasured]] = Verdict.unmeasured
    verdicts[place[invalid]] = Verdict.invalid
    _lay_out_verdicts(one, verdicts, first_day=first_day)
    values[place[known]] = one.values[known]
    gaps = verdicts == Verdict.gap
    if missing is Missing.zero:
        values[gaps] = 0.0
    for verdict, what in MASKED.items():
        days = first_day + np.flatnonzero(verdicts == verdict)
        if days.size:
            notes.append(f"{one.series.name}: {_days(days)} {what}, masked ({_span(days)})")
    if gaps.any():
        how = "taken as zero" if missing is Missing.zero else "masked"
        notes.append(f"{one.series.name}: {_days(gaps.nonzero()[0])} without data, {how}")
    if place.max() + 1 < num_days:
        notes.append(f"{one.series.name} ends on {to_date(one.days.max())}: the days after it are unknown")
    return values, verdicts


def _lay_out_verdicts(one: Observations, verdicts: UInt8[np.ndarray, " days"], *, first_day: int) -> None:
    """What its values are masked for, instead of what they are masked by."""
    for day, verdict in one.verdicts.items():
        place = day - first_day
        if 0 <= place < verdicts.size and verdicts[place] == Verdict.invalid:
            verdicts[place] = verdict


def _impossible(one: Observations) -> Bool[np.ndarray, " days"]:
    kind = one.series.kind
    return out_of_range(one.values, np.asarray(kind is not Kind.other), np.asarray(kind is Kind.rate))


def out_of_range(
    values: Float[np.ndarray, "*days"], never_negative: Bool[np.ndarray, "..."], at_most_one: Bool[np.ndarray, "..."]
) -> Bool[np.ndarray, "*days"]:
    """Values that cannot be; NaN too: it is not below anything."""
    possible = np.abs(values) <= np.finfo(np.float32).max
    return np.asarray(~possible | (never_negative & (values < 0)) | (at_most_one & (values > 1)))


def _days(days: Int[np.ndarray, " n"]) -> str:
    return _num_days(days.size)


def _num_days(number: int) -> str:
    return "1 day" if number == 1 else f"{number} days"


def _span(days: Int[np.ndarray, " n"]) -> str:
    first, last = to_date(days[0]), to_date(days[-1])
    return str(first) if first == last else f"{first}..{last}"
