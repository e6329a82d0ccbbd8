"""The windows that forecasts are made from, cut from rows of `forecasting.daily`. Pure: no connection, no query."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from forecasting.card import SeriesCard, add_effects, find_effects
from forecasting.domain import MAX_DAYS_AHEAD, MIN_DAYS, RECENT_DAYS, Kind, Missing
from forecasting.errors import AmbiguousUnit, DataError, TooFewDays
from forecasting.known_days.events import Event
from forecasting.known_days.regressors import NO_REGRESSORS, Regressors, sum_effects
from forecasting.latest_windows import LatestWindows, cut_latest_windows
from forecasting.panel import Observations, describe_series
from forecasting.predictor import SEASONAL_NAIVE, Window
from forecasting.warehouse.pages import Page
from forecasting.warehouse.units import rate_as_fraction


def cut_page_windows(
    page: Page, cards: Sequence[SeriesCard], *, context_length: int, missing: Missing
) -> LatestWindows:
    """Of each series of the page, the window up to its own last known day, in the model's units."""
    scale = np.array([card.unit_scale for card in cards])
    return cut_latest_windows(
        page.counts,
        page.days,
        page.values / np.repeat(scale, page.counts),
        [card.kind for card in cards],
        context_length=context_length,
        missing=missing,
        can_be_zero=[card.can_be_zero for card in cards],
    )


def cut_windows(
    page: Page,
    cards: Sequence[SeriesCard],
    *,
    context_length: int,
    missing: Missing,
    events: Sequence[Sequence[Event]] = (),
    regressors: Regressors = NO_REGRESSORS,
) -> list[Window | DataError]:
    """Of each series of the page, its latest window; TooFewDays or AmbiguousUnit where it cannot be forecast. `events`
    are those of each series; empty: none of any.
    """
    latest = cut_page_windows(page, cards, context_length=context_length, missing=missing)
    first_days, ends = latest.first_days, page.counts.cumsum()
    windows: list[Window | DataError] = []
    for row, (card, own) in enumerate(zip(cards, events or [()] * len(cards), strict=True)):
        rows = slice(ends[row] - page.counts[row], ends[row])
        first_day, num_days = int(first_days[row]), context_length + MAX_DAYS_AHEAD
        window = Window(
            history=latest.history[row].copy(),  # a view would keep the whole batch in memory
            first_day=first_day,
            kind=card.kind,
            band_scale=np.asarray(card.band_scale, np.float32),
            naive=card.answered_by == SEASONAL_NAIVE,
            last_verdict=page.last_verdicts[row] if page.last_verdicts else "",
            effects=find_effects(card, first_day, num_days, own),
            events=tuple(event for event in own if event.is_within(range(first_day, first_day + num_days))),
        )
        window = _add_regressors(window, card, regressors)
        fault = _find_fault(card, page.days[rows], page.values[rows], latest, row, missing=missing)
        windows.append(fault or window)
    return windows


def _add_regressors(window: Window, card: SeriesCard, regressors: Regressors) -> Window:
    if not card.uses_regressors:
        return window
    context = len(window.history)
    values = regressors.find(
        card.site, card.regressor_names, first_day=window.first_day, num_days=context + MAX_DAYS_AHEAD
    )
    effects = add_effects(window.effects, sum_effects(card.regressors, values).astype(np.float32))
    return replace(window, effects=effects, regressors=values[context:].copy())


def check_fraction(card: SeriesCard, days: Int[np.ndarray, " days"], values: Float[np.ndarray, " days"]) -> None:
    """Raises AmbiguousUnit for a rate above 1 that the version took for a fraction, 0..1."""
    if card.kind is Kind.rate and card.unit_scale == 1:
        settings = card.metric_config
        series = describe_series(card.site, card.metric, settings, otherwise=card.kind)
        rate_as_fraction(Observations(series, days, values), {card.metric: settings}, named=(), notes=[])


def _find_fault(
    card: SeriesCard,
    days: Int[np.ndarray, " days"],
    values: Float[np.ndarray, " days"],
    latest: LatestWindows,
    row: int,
    *,
    missing: Missing,
) -> DataError | None:
    """Why a series cannot be forecast. The days are in order, or reversed."""
    try:
        check_fraction(card, days, values)
    except AmbiguousUnit as error:
        return error
    if latest.enough[row]:
        return None
    num_known = int(np.isfinite(latest.history[row, -RECENT_DAYS:]).sum())
    if num_known >= latest.num_needed[row]:
        return TooFewDays(
            f"{card.name} has fewer than {MIN_DAYS} days of data; at least {MIN_DAYS} are needed. "
            "Wait for more, or load older days."
        )
    remedy = "or train with data.missing=zero" if missing is Missing.mask else "as rows of 0"
    return TooFewDays(
        f"{card.name} has {num_known} known days among the last {RECENT_DAYS}; a forecast needs "
        f"{latest.num_needed[row]}. Load the missing days, {remedy} if they had no traffic."
    )
