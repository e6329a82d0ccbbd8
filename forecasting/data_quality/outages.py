"""Days on which nothing, or only part of the traffic, was counted."""

import numpy as np
from jaxtyping import Bool, Float, Int

from forecasting.data_quality.trailing_days import (
    CONTEXT,
    MIN_RECENT,
    WEEK,
    any_of_site,
    count_since,
    days_before,
    ends_quiet_week,
    recent_starts,
)
from forecasting.settings.schema import VerdictConfig

CLOSED_WEEKDAYS = 2  # silent days of a weekday, after which the next one is expected to be silent
USUAL_SHARE = 0.9  # of the RECENT days had traffic in an hour that counts as usual
BUSY_SHARE = 0.75  # of a partial day's other usual hours had traffic; otherwise it was a slow day
HOURS = np.arange(24)


def find_outages(
    counts: Float[np.ndarray, "series days"], sites: Int[np.ndarray, " series"], thresholds: VerdictConfig
) -> Bool[np.ndarray, "series judged"]:
    """Unusual zeros. If all counts of a site are zero, one unusual zero makes the day an outage for all its series."""
    zeros = _find_unusual_zeros(counts, thresholds)
    return np.asarray(zeros | (any_of_site(zeros, sites) & ~any_of_site(counts[:, CONTEXT:] > 0, sites)))


def judge_hours(
    hours: Int[np.ndarray, "series days"], sites: Int[np.ndarray, " series"], thresholds: VerdictConfig
) -> tuple[Bool[np.ndarray, "series judged"], Bool[np.ndarray, "series judged"]]:
    """Silent days and partial days, by the hours of each site, for each of its series."""
    _, firsts, group = np.unique(sites, return_index=True, return_inverse=True)
    site_hours, today = hours[firsts], hours[firsts, CONTEXT:]
    if not np.any(today >= 0):
        nothing = np.zeros((len(sites), today.shape[1]), bool)
        return nothing, nothing
    lost = _find_lost_hours(site_hours, thresholds)
    silent = lost & (today == 0) & ~_is_closed_weekday(site_hours == 0, site_hours > 0)
    return silent[group], (lost & (today > 0))[group]


def _find_unusual_zeros(
    counts: Float[np.ndarray, "series days"], thresholds: VerdictConfig
) -> Bool[np.ndarray, "series judged"]:
    """Zeros after RECENT days with traffic of which at least half had `outage_level` or more.

    Chance does not produce them: a Poisson count with mean 20 is zero with probability exp(-20), once in 1.3 million
    years. Days without traffic do not change what is usual, so a long outage stays one until fewer than MIN_RECENT days
    of the context had traffic, after six weeks. Then the site counts as shut down, and its zeros as observed. Zeros on
    a weekday that is usually silent are observed too.
    """
    has_traffic, silent = counts > 0, counts == 0
    starts = recent_starts(has_traffic)
    num_recent = count_since(has_traffic, starts)
    num_high = count_since(counts >= thresholds.outage_level, starts)
    is_usual = (num_recent >= MIN_RECENT) & (2 * num_high >= num_recent)
    return np.asarray(silent[:, CONTEXT:] & is_usual & ~_is_closed_weekday(silent, has_traffic))


def _find_lost_hours(
    hours: Int[np.ndarray, "sites days"], thresholds: VerdictConfig
) -> Bool[np.ndarray, "sites judged"]:
    """Whether `partial_hours` usual hours in a row were silent, on a day that was otherwise busy.

    In a row, since chance scatters silent hours: of 18 hours that have traffic on 90% of days, any 6 are silent on
    0.64% of days, but 6 in a row on 0.001%. A clock change removes or shifts single hours, which is too few to matter.
    """
    active = (hours[..., None] >> HOURS & 1).astype(bool) & (hours > 0)[..., None]
    starts = recent_starts(hours > 0)
    num_recent = count_since(hours > 0, starts)
    num_active = count_since(active, starts)
    usual = num_active >= USUAL_SHARE * num_recent[..., None]
    today = active[:, CONTEXT:]
    run = longest = np.zeros(num_recent.shape, np.int64)
    for hour in HOURS:
        run = np.where(today[..., hour], 0, run + usual[..., hour])
        longest = np.maximum(longest, run)
    is_busy = (usual & today).sum(-1) >= BUSY_SHARE * (usual.sum(-1) - longest)
    return np.asarray((num_recent >= MIN_RECENT) & (longest >= thresholds.partial_hours) & is_busy)


def _is_closed_weekday(
    silent: Bool[np.ndarray, "rows days"], has_traffic: Bool[np.ndarray, "rows days"]
) -> Bool[np.ndarray, "rows judged"]:
    """Whether the same weekday was silent CLOSED_WEEKDAYS times in the seven weeks before.

    A silent day within seven days without traffic is a sign of an outage or a holiday, not of that weekday.
    """
    quiet = ends_quiet_week(has_traffic)
    num_judged = has_traffic.shape[1] - CONTEXT
    num_closed = np.zeros((len(has_traffic), num_judged), np.uint8)
    for lag in range(WEEK, CONTEXT, WEEK):
        closed = days_before(silent, lag, num_judged).copy()
        for later in range(WEEK):
            closed &= ~days_before(quiet, lag - later, num_judged)
        num_closed += closed
    return np.asarray(num_closed >= CLOSED_WEEKDAYS)
