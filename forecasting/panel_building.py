"""From the observations of many series to a panel, with a note on everything odd. Pure numpy: no clock, no server."""

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from forecasting.domain import MIN_DAYS, Kind, Missing, Verdict, to_date, to_day
from forecasting.errors import DuplicateDays, TooFewDays
from forecasting.latest_windows import NEVER_NEGATIVE, out_of_range
from forecasting.long_gaps import find_long_gaps, mark_long_gaps
from forecasting.panel import Observations, Panel

MASKED = {  # verdicts that mask a day's value, as notes describe such days
    Verdict.invalid: "with an impossible value",
    Verdict.unmeasured: "without a value in its row",
    Verdict.outage: "of an outage",
    Verdict.partial: "counted in part",
    Verdict.bot: "of suspected bots",
    Verdict.definition_break: "counted in another way than today",
}


def build_panel(
    observations: Sequence[Observations],
    *,
    today: dt.date,
    missing: Missing = Missing.zero,
    named: Collection[str] = (),
    cutoff: int | None = None,
) -> Panel:
    """The panel of all series, up to the last complete day of any of them.

    `cutoff` is a later last day, for a panel that holds only a share of all series. Today and later days are left out.
    NaN and impossible values are masked. Days missing between two others are zero or masked, as `missing` says, and
    masked in any case where they cannot be zero, as of a rate, or in a gap that is longer than is usual for the series.
    Days before a series began or after its last value are always masked, since nobody measured zero. Series of fewer
    than 30 days are left out, counting zeros.

    Raises DuplicateDays, and TooFewDays if no series is left or a series of a `named` metric is too short.
    """
    notes: list[str] = []
    complete = [_drop_unfinished(observed, today=today, notes=notes) for observed in observations]
    for observed in complete:
        _refuse_duplicates(observed)
    complete = _drop_short(complete, missing=missing, named=named, notes=notes)
    first_day = min(int(observed.days.min()) for observed in complete)
    last_day = max(int(observed.days.max()) for observed in complete)
    num_days = max(last_day, last_day if cutoff is None else cutoff) - first_day + 1
    calendar = {"first_day": first_day, "num_days": num_days}
    rows = [_lay_out(observed, **calendar, missing=missing, notes=notes) for observed in complete]
    return Panel(
        series=tuple(observed.series for observed in complete),
        values=np.stack([values for values, _ in rows]),
        first_day=first_day,
        verdicts=np.stack([verdicts for _, verdicts in rows]),
        notes=tuple(dict.fromkeys(notes)),
    )


def duplicate_days(name: str, num_days: int, first_day: int) -> DuplicateDays:
    """The error to raise for a series with several values on one day."""
    return DuplicateDays(
        f"{name} has more than one value for {_write_num_days(num_days)}, the first on {to_date(first_day)}. "
        "Keep one row a day, or add a `site` column if the rows are of different sites."
    )


def _drop_unfinished(observed: Observations, *, today: dt.date, notes: list[str]) -> Observations:
    """Without today and later days."""
    unfinished = to_day(today)
    if np.any(observed.days == unfinished):
        notes.append(f"{today} is not over: it is left out")
    future = np.sort(observed.days[observed.days > unfinished])
    if future.size:
        days = f"{_write_num_days(future.size)} in the future left out"
        notes.append(f"{observed.series.name}: {days} ({_write_span(future)}; today is {today})")
    complete = observed.days < unfinished
    return replace(observed, days=observed.days[complete], values=observed.values[complete])


def _refuse_duplicates(observed: Observations) -> None:
    days, counts = np.unique(observed.days, return_counts=True)
    if np.any(counts > 1):
        repeated = days[counts > 1]
        raise duplicate_days(observed.series.name, repeated.size, int(repeated[0]))


def _drop_short(
    observations: list[Observations], *, missing: Missing, named: Collection[str], notes: list[str]
) -> list[Observations]:
    if not any(observed.days.size for observed in observations):
        raise TooFewDays(f"There is no complete day of data; at least {MIN_DAYS} are needed.")
    lengths = [_count_days(observed, missing) for observed in observations]
    num_short = sum(length < MIN_DAYS for length in lengths)
    for observed, length in zip(observations, lengths, strict=True):
        if length >= MIN_DAYS:
            continue
        reason = f"{observed.series.name} has {_write_num_days(length)} of data; at least {MIN_DAYS} are needed"
        if observed.series.metric in named or num_short == len(observations):
            raise TooFewDays(f"{reason}. Wait for more, or load older days.")
        notes.append(f"{reason}: it is left out")
    return [observed for observed, length in zip(observations, lengths, strict=True) if length >= MIN_DAYS]


def _count_days(observed: Observations, missing: Missing) -> int:
    """Days with a value; a missing day has one where it counts as zero."""
    if not _fills_gaps(observed, missing) or not observed.days.size:
        return int(np.isfinite(observed.values).sum())
    _, begins, ends = find_long_gaps(np.zeros(len(observed.days), np.int64), observed.days)
    return int(observed.days.max() - observed.days.min() + 1 - (ends - begins).sum())


def _fills_gaps(observed: Observations, missing: Missing) -> bool:
    return missing is Missing.zero and observed.series.can_be_zero


def _lay_out(
    observed: Observations, *, first_day: int, num_days: int, missing: Missing, notes: list[str]
) -> tuple[Float[np.ndarray, " days"], UInt8[np.ndarray, " days"]]:
    """One series on the panel's calendar: the value and the verdict of each day."""
    columns = observed.days - first_day
    verdicts = _lay_out_verdicts(observed, first_day=first_day, num_days=num_days)
    values = np.full(num_days, np.nan, np.float32)
    known = verdicts[columns] == Verdict.observed
    values[columns[known]] = observed.values[known]
    fills = _fills_gaps(observed, missing)
    is_long_gap = _mark_long_gaps(verdicts) if fills else np.zeros(num_days, bool)
    if fills:
        values[(verdicts == Verdict.gap) & ~is_long_gap] = 0.0
    notes += _write_notes(observed, verdicts, is_long_gap, first_day=first_day, fills=fills)
    return values, verdicts


def _mark_long_gaps(verdicts: UInt8[np.ndarray, " days"]) -> Bool[np.ndarray, " days"]:
    has_row = ~np.isin(verdicts, (Verdict.before, Verdict.gap))
    return np.asarray(mark_long_gaps(has_row[None])[0])


def _lay_out_verdicts(observed: Observations, *, first_day: int, num_days: int) -> UInt8[np.ndarray, " days"]:
    columns = observed.days - first_day
    unmeasured = np.isnan(observed.values)
    invalid = _is_impossible(observed) & ~unmeasured
    verdicts = np.full(num_days, Verdict.before, np.uint8)
    verdicts[columns.min() : columns.max() + 1] = Verdict.gap
    verdicts[columns] = np.where(unmeasured, Verdict.unmeasured, np.where(invalid, Verdict.invalid, Verdict.observed))
    for day, verdict in observed.verdicts.items():  # the reason why a value was made infinite
        column = day - first_day
        if 0 <= column < num_days and verdicts[column] == Verdict.invalid:
            verdicts[column] = verdict
    return verdicts


def _is_impossible(observed: Observations) -> Bool[np.ndarray, " days"]:
    kind = observed.series.kind
    return out_of_range(observed.values, np.asarray(kind in NEVER_NEGATIVE), np.asarray(kind is Kind.rate))


def _write_notes(
    observed: Observations,
    verdicts: UInt8[np.ndarray, " days"],
    is_long_gap: Bool[np.ndarray, " days"],
    *,
    first_day: int,
    fills: bool,
) -> list[str]:
    name, notes = observed.series.name, []
    for verdict, description in MASKED.items():
        days = first_day + np.flatnonzero(verdicts == verdict)
        if days.size:
            notes.append(f"{name}: {_write_num_days(days.size)} {description}, masked ({_write_span(days)})")
    num_gaps = int(np.sum(verdicts == Verdict.gap))
    unusual = first_day + np.flatnonzero(is_long_gap)
    if unusual.size:
        span = _write_span(unusual)
        notes.append(
            f"{name}: {_write_num_days(unusual.size)} without data, masked ({span}): no gap is usually so long here. "
            "Add rows of 0 if there was no traffic"
        )
    if num_gaps > unusual.size:
        notes.append(
            f"{name}: {_write_num_days(num_gaps - unusual.size)} without data, {'taken as zero' if fills else 'masked'}"
        )
    if observed.days.max() - first_day + 1 < len(verdicts):
        notes.append(f"{name} ends on {to_date(observed.days.max())}: the days after it are unknown")
    return notes


def _write_num_days(number: int) -> str:
    return "1 day" if number == 1 else f"{number} days"


def _write_span(days: Int[np.ndarray, " days"]) -> str:
    first, last = to_date(days[0]), to_date(days[-1])
    return str(first) if first == last else f"{first}..{last}"
