"""What each day's total is worth: traffic, an outage, a part of a day, or a spike of bots. Pure numpy: no clock.

A verdict rests on its day and the CONTEXT days before it, never on a later day or on another verdict. So a backtest
does not peek, and days judged a few at a time, with their context, get the verdicts of all days judged at once.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8

from forecasting.domain import Kind, Verdict, to_day
from forecasting.latest_windows import out_of_range
from forecasting.settings.schema import VerdictConfig

CONTEXT = 56  # days before a day that its verdict rests on: eight of each weekday
RECENT = 28  # days that say what is usual
ENOUGH = 14  # of them, below which nothing is usual yet
WEEK = 7
CLOSED_WEEKDAYS = 2  # silent ones of a weekday, after which the next one is expected
BEYOND = 1.5  # a spike is at least this many times what the series has done before
CALM = 2.0  # a metric below this many times its median has seen no crowd
CALM_LEVEL = 5.0  # of that median, below which chance may keep a metric calm
BUSY_SHARE = 0.75  # of a partial day's other usual hours had traffic: else it was a slow day
HOURS = np.arange(24)
CHUNK = 1 << 16  # values judged at once: little memory, and most of it stays in a core's cache


def judge(
    values: Float[np.ndarray, "series days"],
    hours: Int[np.ndarray, "series days"],
    kinds: Sequence[Kind],
    sites: Int[np.ndarray, " series"],
    *,
    rules: VerdictConfig,
    start: int = 0,
    events: Bool[np.ndarray, "series days"] | None = None,
    breaks: Int[np.ndarray, " series"] | None = None,
) -> UInt8[np.ndarray, "series judged"]:
    """The verdicts on the columns from `start` on; the CONTEXT columns before them are looked at and not judged.

    `values`: NaN where there is no row, or NULL. `hours`: bit h is set where something happened in the h-th local hour
    of the day, bit 24 on a day of 25; -1 where the source does not say; the same for every series of a site. `sites`: a
    number for each. `events`: announced days, never bots for any series of the site. `breaks`: of `find_breaks`.
    """
    is_count, is_rate = (np.array([kind is one for kind in kinds], bool) for one in (Kind.count, Kind.rate))
    verdicts = np.empty((len(values), values.shape[1] - start), np.uint8)
    for rows in _parts(sites, num_rows=CHUNK // (CONTEXT + verdicts.shape[1])):
        verdicts[rows] = _judge_sites(
            _with_context(values[rows], start, fill=np.nan),
            _with_context(hours[rows], start, fill=-1.0),
            sites[rows],
            rules=rules,
            is_count=is_count[rows, None],
            is_rate=is_rate[rows, None],
            events=np.zeros((len(rows), verdicts.shape[1]), bool) if events is None else events[rows, start:],
            breaks=np.zeros(len(rows), np.int64) if breaks is None else breaks[rows] - start + CONTEXT,
        )
    return verdicts


def find_breaks(
    metrics: Sequence[str], *, rules: VerdictConfig, first_day: int, num_days: int
) -> Int[np.ndarray, " series"]:
    """Of each series' metric, the column of its latest break on the calendar; 0 where there is none.

    `first_day`: of the calendar, in days since 1970-01-01. A break after its last day is still to come.
    """
    columns = {metric: [to_day(date) - first_day for date in rules.break_dates(metric)] for metric in set(metrics)}
    latest = {metric: max((one for one in found if 0 < one < num_days), default=0) for metric, found in columns.items()}
    return np.array([latest[metric] for metric in metrics], np.int64)


def mark_breaks(
    verdicts: UInt8[np.ndarray, "series days"], breaks: Int[np.ndarray, " series"]
) -> UInt8[np.ndarray, "series days"]:
    """The verdicts, where a day before its series' break that has a value is of another definition."""
    has_value = verdicts == Verdict.observed
    for one in (Verdict.outage, Verdict.partial, Verdict.bot):
        has_value |= verdicts == one
    before = np.arange(verdicts.shape[1]) < breaks[:, None]
    return np.asarray(np.where(has_value & before, np.uint8(Verdict.definition_break), verdicts))


def _judge_sites(
    values: Float[np.ndarray, "series days"],
    hours: Int[np.ndarray, "series days"],
    sites: Int[np.ndarray, " series"],
    *,
    rules: VerdictConfig,
    is_count: Bool[np.ndarray, "series 1"],
    is_rate: Bool[np.ndarray, "series 1"],
    events: Bool[np.ndarray, "series judged"],
    breaks: Int[np.ndarray, " series"],
) -> UInt8[np.ndarray, "series judged"]:
    """The verdicts on all columns but the first CONTEXT ones, of the series of whole sites."""
    impossible = out_of_range(values, is_count | is_rate, is_rate)
    of_another_definition = np.arange(values.shape[1]) < breaks[:, None]
    known = np.where(impossible | of_another_definition, np.nan, values)
    counts, rates = np.where(is_count, known, np.nan), np.where(is_rate, known, np.nan)
    silent, partial = _judge_hours(hours, sites, rules)
    verdicts = np.full(events.shape, Verdict.observed, np.uint8)
    verdicts[_find_bots(counts, rates, sites, rules) & ~_any_of_site(events, sites)] = Verdict.bot
    verdicts[partial] = Verdict.partial
    verdicts[silent | _find_outages(counts, sites, rules)] = Verdict.outage
    verdicts[impossible[:, CONTEXT:]] = Verdict.invalid
    verdicts[np.isnan(values[:, CONTEXT:])] = Verdict.unmeasured
    return mark_breaks(verdicts, breaks - CONTEXT)


def _find_outages(
    counts: Float[np.ndarray, "series days"], sites: Int[np.ndarray, " series"], rules: VerdictConfig
) -> Bool[np.ndarray, "series judged"]:
    """Zeros where much always is; where all of a site's counts are zero, one such zero speaks for all of its series."""
    zero = _find_odd_zeros(counts, rules)
    return np.asarray(zero | (_any_of_site(zero, sites) & ~_any_of_site(counts[:, CONTEXT:] > 0, sites)))


def _find_odd_zeros(
    counts: Float[np.ndarray, "series days"], rules: VerdictConfig
) -> Bool[np.ndarray, "series judged"]:
    """A zero where at least half of the latest RECENT days with traffic had `outage_level` or more.

    Chance does not make it: a Poisson count of mean 20 is zero with probability exp(-20), once in 1.3 million years.
    Days without traffic say nothing of what is usual, so an outage goes on being one, until fewer than ENOUGH days of
    the context had traffic, six weeks on: then the site is shut, and its zeros are observed. So are those of a weekday
    that is closed.
    """
    alive, silent = counts > 0, counts == 0
    starts = _recent_starts(alive)
    num_alive = _count_since(alive, starts)
    is_usual = (num_alive >= ENOUGH) & (2 * _count_since(counts >= rules.outage_level, starts) >= num_alive)
    return np.asarray(silent[:, CONTEXT:] & is_usual & ~_is_closed(silent, alive))


def _find_bots(
    counts: Float[np.ndarray, "series days"],
    rates: Float[np.ndarray, "series days"],
    sites: Int[np.ndarray, " series"],
    rules: VerdictConfig,
) -> Bool[np.ndarray, "series judged"]:
    """Spikes that no crowd of people made, on all series of their site.

    A crowd raises every count; bots load pages without more visitors, or come as visitors who all bounce. Of news the
    days after are high too: a model that does not see their spike forecasts them worse.
    """
    huge = _find_high(counts, counts.shape[1] - CONTEXT, rules.bot_alone_factor, rules)
    no_crowd = _any_of_site(_is_calm(counts) | _is_bouncing(rates), sites)
    return _any_of_site(_find_spikes(counts, rules) & (huge | no_crowd), sites)


def _find_spikes(counts: Float[np.ndarray, "series days"], rules: VerdictConfig) -> Bool[np.ndarray, "series judged"]:
    """High days, at most `bot_days` in a row, beyond all but fewer than `bot_days` days of the context.

    So a peak of every week is none, and neither is a new level from the day after these on.
    """
    num_judged = counts.shape[1] - CONTEXT
    is_high = _find_high(counts, num_judged + rules.bot_days, rules.bot_factor, rules)
    goes_on = np.ones((len(counts), num_judged), bool)
    for lag in range(1, rules.bot_days + 1):
        goes_on &= _earlier(is_high, lag, num_judged)
    least = counts[:, CONTEXT:] / BEYOND
    num_beyond = np.zeros(least.shape, np.uint8)
    for lag in range(1, CONTEXT + 1):
        num_beyond += _earlier(counts, lag, num_judged) > least
    return np.asarray(is_high[:, rules.bot_days :] & ~goes_on & (num_beyond < rules.bot_days))


def _find_high(
    counts: Float[np.ndarray, "series days"], num_last: int, factor: float, rules: VerdictConfig
) -> Bool[np.ndarray, "series last"]:
    """Of the last columns, those of `factor` times the median of the RECENT days with traffic or more.

    And of `outage_level` or more: chance brings a Poisson count of mean 5 to 20 with probability 4e-7 only.
    """
    last = counts[:, counts.shape[1] - num_last :]
    most = last / factor
    num_alive, num_below = np.zeros(last.shape, np.uint8), np.zeros(last.shape, np.uint8)
    for lag in range(1, RECENT + 1):
        before = _earlier(counts, lag, num_last)
        alive = before > 0
        num_alive += alive
        num_below += alive & (before <= most)
    return np.asarray((last >= rules.outage_level) & (num_alive >= ENOUGH) & (2 * num_below >= num_alive))


def _is_calm(counts: Float[np.ndarray, "series days"]) -> Bool[np.ndarray, "series judged"]:
    """Days below CALM times the median of the RECENT days with traffic, which is CALM_LEVEL or more.

    Chance would keep so few from a crowd of four times the mean: a Poisson count of mean 20 is below 10 with
    probability 0.5%.
    """
    today = counts[:, CONTEXT:]
    num_alive, num_above = np.zeros(today.shape, np.uint8), np.zeros(today.shape, np.uint8)
    for lag in range(1, RECENT + 1):
        before = _earlier(counts, lag, today.shape[1])
        num_alive += before > 0
        num_above += (before > today / CALM) & (before >= CALM_LEVEL)
    return np.asarray((num_alive >= ENOUGH) & (2 * num_above >= num_alive))


def _is_bouncing(rates: Float[np.ndarray, "series days"]) -> Bool[np.ndarray, "series judged"]:
    """Days whose rate is above all of the RECENT days, and its distance to 1 at most 1/CALM of their median's.

    Where three of four visits are bouncing bots, the share that does not bounce is a quarter of the usual one.
    """
    today = rates[:, CONTEXT:]
    num_known, num_far, num_as_high = (np.zeros(today.shape, np.uint8) for _ in range(3))
    for lag in range(1, RECENT + 1):
        before = _earlier(rates, lag, today.shape[1])
        num_known += np.isfinite(before)
        num_far += 1 - before >= CALM * (1 - today)
        num_as_high += before >= today
    return np.asarray((num_known >= ENOUGH) & (2 * num_far >= num_known) & (num_as_high == 0))


def _judge_hours(
    hours: Int[np.ndarray, "series days"], sites: Int[np.ndarray, " series"], rules: VerdictConfig
) -> tuple[Bool[np.ndarray, "series judged"], Bool[np.ndarray, "series judged"]]:
    """Silent days, and partial ones, of each site, for each of its series."""
    _, firsts, group = np.unique(sites, return_index=True, return_inverse=True)
    of_site, today = hours[firsts], hours[firsts, CONTEXT:]
    if not np.any(today >= 0):
        nothing = np.zeros((len(sites), today.shape[1]), bool)
        return nothing, nothing
    lost = _find_lost_hours(of_site, rules)
    silent = lost & (today == 0) & ~_is_closed(of_site == 0, of_site > 0)
    return silent[group], (lost & (today > 0))[group]


def _find_lost_hours(hours: Int[np.ndarray, "sites days"], rules: VerdictConfig) -> Bool[np.ndarray, "sites judged"]:
    """Whether `partial_hours` usual hours are silent, none with traffic between them, on a day that was else busy.

    In a row, since chance spreads its silent hours: of 18 hours that have traffic on 90% of days, 6 are silent on
    0.64% of days, 6 in a row on 0.001%. The hour that a clock change takes away, and the shift by one of those after
    it, are too few to matter.
    """
    active = (hours[..., None] >> HOURS & 1).astype(bool) & (hours > 0)[..., None]
    starts = _recent_starts(hours > 0)
    num_alive = _count_since(hours > 0, starts)
    num_active = _count_since(active, starts)
    usual = num_active >= rules.usual_share * num_alive[..., None] - 1e-9  # 0.55 * 20 is a little above 11
    today = active[:, CONTEXT:]
    run = longest = np.zeros(num_alive.shape, np.int64)
    for hour in HOURS:
        run = np.where(today[..., hour], 0, run + usual[..., hour])
        longest = np.maximum(longest, run)
    busy = (usual & today).sum(-1) >= BUSY_SHARE * (usual.sum(-1) - longest)
    return np.asarray((num_alive >= ENOUGH) & (longest >= rules.partial_hours) & busy)


def _is_closed(
    silent: Bool[np.ndarray, "rows days"], alive: Bool[np.ndarray, "rows days"]
) -> Bool[np.ndarray, "rows judged"]:
    """Whether CLOSED_WEEKDAYS of the same weekday were silent in the seven weeks before.

    A silent day of a week without any traffic tells of an outage or of a holiday, not of that weekday.
    """
    until = _until(alive)
    ends_quiet_week = np.zeros(alive.shape, bool)
    ends_quiet_week[:, WEEK - 1 :] = until[:, WEEK:] == until[:, :-WEEK]
    num_judged = alive.shape[1] - CONTEXT
    num_closed = np.zeros((len(alive), num_judged), np.uint8)
    for lag in range(WEEK, CONTEXT, WEEK):
        closed = _earlier(silent, lag, num_judged).copy()
        for later in range(WEEK):
            closed &= ~_earlier(ends_quiet_week, lag - later, num_judged)
        num_closed += closed
    return np.asarray(num_closed >= CLOSED_WEEKDAYS)


def _recent_starts(alive: Bool[np.ndarray, "rows days"]) -> Int[np.ndarray, "rows judged"]:
    """Where the latest RECENT alive days before each judged column begin, CONTEXT columns before it at the earliest."""
    until = _until(alive)
    num_judged = alive.shape[1] - CONTEXT
    now = until[:, CONTEXT:-1]
    too_early = np.zeros(now.shape, np.uint8)
    for lag in range(1, CONTEXT + 1):
        too_early += now - _earlier(until[:, :-1], lag, num_judged) > RECENT
    return np.arange(num_judged) + too_early


def _count_since(
    marks: Bool[np.ndarray, "rows days *hours"], starts: Int[np.ndarray, "rows judged"]
) -> Int[np.ndarray, "rows judged *hours"]:
    """Marks from each judged column's start on, up to the column before it."""
    until = _until(marks)
    places = starts.reshape(starts.shape + (1,) * (marks.ndim - 2))
    return np.asarray(until[:, CONTEXT:-1] - np.take_along_axis(until, places, axis=1))


def _until(marks: Bool[np.ndarray, "rows days *hours"]) -> Int[np.ndarray, "rows columns *hours"]:
    """How many marks come before each column, one column more than there are."""
    until = np.zeros((marks.shape[0], marks.shape[1] + 1, *marks.shape[2:]), np.int32)
    np.cumsum(marks, axis=1, out=until[:, 1:])
    return until


def _earlier(x: Shaped[np.ndarray, "rows days"], lag: int, num_last: int) -> Shaped[np.ndarray, "rows last"]:
    """What was `lag` days before each of the last columns."""
    stop = x.shape[1] - lag
    return x[:, stop - num_last : stop]


def _any_of_site(
    marks: Bool[np.ndarray, "series days"], sites: Int[np.ndarray, " series"]
) -> Bool[np.ndarray, "series days"]:
    """Whether any series of the same site is marked."""
    order = np.argsort(sites, kind="stable")
    _, firsts, group = np.unique(sites[order], return_index=True, return_inverse=True)
    shared = np.empty_like(marks)
    shared[order] = np.logical_or.reduceat(marks[order], firsts, axis=0)[group]
    return shared


def _with_context(
    x: Shaped[np.ndarray, "rows days"], start: int, *, fill: float | int
) -> Shaped[np.ndarray, "rows columns"]:
    """The columns from `start` on, and CONTEXT before them, `fill` where there are none."""
    kept = x[:, max(0, start - CONTEXT) :]
    return np.pad(kept, ((0, 0), (max(0, CONTEXT - start), 0)), constant_values=fill)


def _parts(sites: Int[np.ndarray, " series"], *, num_rows: int) -> list[Int[np.ndarray, " part"]]:
    """The rows of whole sites, of about `num_rows` series each."""
    order = np.argsort(sites, kind="stable")
    _, firsts = np.unique(sites[order], return_index=True)
    part = firsts // max(1, num_rows)
    return np.split(order, firsts[1:][part[1:] > part[:-1]])
