"""Spikes of bots: a metric that leaps while others show that no crowd of people came."""

import numpy as np
from jaxtyping import Bool, Float, Int

from forecasting.data_quality.trailing_days import CONTEXT, MIN_RECENT, RECENT, any_of_site, days_before
from forecasting.settings.schema import VerdictConfig

ALONE_FACTOR = 30.0  # a spike, in medians of the RECENT days, if no other metric can tell bots from a crowd
BOT_DAYS = 2  # that a spike lasts at most; a third day in a row is a new level
NOVELTY_FACTOR = 1.5  # a spike is at least this many times what the series has reached before
CALM_FACTOR = 2.0  # a metric below this many times its median shows no crowd
CALM_LEVEL = 5.0  # of that median; below it, a metric may stay calm by chance


def find_bots(
    counts: Float[np.ndarray, "series days"],
    rates: Float[np.ndarray, "series days"],
    sites: Int[np.ndarray, " series"],
    thresholds: VerdictConfig,
) -> Bool[np.ndarray, "series judged"]:
    """Spikes that no crowd of people made, marked on all series of their site.

    A crowd raises every count. Bots load pages without raising the number of visitors, or come as visitors who all
    bounce. News must stay visible: the days after it are high too, and a model that does not see the spike forecasts
    them worse.
    """
    huge = _find_high(counts, counts.shape[1] - CONTEXT, ALONE_FACTOR, thresholds)
    no_crowd = any_of_site(_is_calm(counts) | _is_bouncing(rates), sites)
    return any_of_site(_find_spikes(counts, thresholds) & (huge | no_crowd), sites)


def _find_spikes(
    counts: Float[np.ndarray, "series days"], thresholds: VerdictConfig
) -> Bool[np.ndarray, "series judged"]:
    """High days, at most BOT_DAYS in a row, that exceed all but fewer than BOT_DAYS days of the context.

    So a weekly peak is not a spike, and neither is a new level after its first BOT_DAYS days.
    """
    num_judged = counts.shape[1] - CONTEXT
    is_high = _find_high(counts, num_judged + BOT_DAYS, thresholds.bot_factor, thresholds)
    lasts = np.ones((len(counts), num_judged), bool)
    for lag in range(1, BOT_DAYS + 1):
        lasts &= days_before(is_high, lag, num_judged)
    limit = counts[:, CONTEXT:] / NOVELTY_FACTOR
    num_above = np.zeros(limit.shape, np.uint8)
    for lag in range(1, CONTEXT + 1):
        num_above += days_before(counts, lag, num_judged) > limit
    return np.asarray(is_high[:, BOT_DAYS:] & ~lasts & (num_above < BOT_DAYS))


def _find_high(
    counts: Float[np.ndarray, "series days"], num_last: int, factor: float, thresholds: VerdictConfig
) -> Bool[np.ndarray, "series last"]:
    """Of the last columns, those of at least `factor` times the median of the RECENT days' traffic.

    And of at least `outage_level`: a Poisson count with mean 5 reaches 20 with probability 4e-7 only.
    """
    last = counts[:, counts.shape[1] - num_last :]
    limit = last / factor
    num_recent, num_below = np.zeros(last.shape, np.uint8), np.zeros(last.shape, np.uint8)
    for lag in range(1, RECENT + 1):
        before = days_before(counts, lag, num_last)
        has_traffic = before > 0
        num_recent += has_traffic
        num_below += has_traffic & (before <= limit)
    return np.asarray((last >= thresholds.outage_level) & (num_recent >= MIN_RECENT) & (2 * num_below >= num_recent))


def _is_calm(counts: Float[np.ndarray, "series days"]) -> Bool[np.ndarray, "series judged"]:
    """Days below CALM_FACTOR times the median of the RECENT days' traffic, if that is CALM_LEVEL or more.

    A metric rarely stays calm by chance when a crowd brings four times the mean: a Poisson count with mean 20 is below
    10 with probability 0.5%.
    """
    today = counts[:, CONTEXT:]
    num_recent, num_above = np.zeros(today.shape, np.uint8), np.zeros(today.shape, np.uint8)
    for lag in range(1, RECENT + 1):
        before = days_before(counts, lag, today.shape[1])
        num_recent += before > 0
        num_above += (before > today / CALM_FACTOR) & (before >= CALM_LEVEL)
    return np.asarray((num_recent >= MIN_RECENT) & (2 * num_above >= num_recent))


def _is_bouncing(rates: Float[np.ndarray, "series days"]) -> Bool[np.ndarray, "series judged"]:
    """Days whose rate is above all RECENT days', and at most 1/CALM_FACTOR of their median's distance away from 1.

    If three of four visits are bouncing bots, the share of visits that do not bounce falls to a quarter.
    """
    today = rates[:, CONTEXT:]
    num_known, num_far, num_as_high = (np.zeros(today.shape, np.uint8) for _ in range(3))
    for lag in range(1, RECENT + 1):
        before = days_before(rates, lag, today.shape[1])
        num_known += np.isfinite(before)
        num_far += 1 - before >= CALM_FACTOR * (1 - today)
        num_as_high += before >= today
    return np.asarray((num_known >= MIN_RECENT) & (2 * num_far >= num_known) & (num_as_high == 0))
