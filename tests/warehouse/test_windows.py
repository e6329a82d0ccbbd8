"""The windows that forecasts are made from, beside the panel's last days and by hand."""

import datetime as dt

import numpy as np

from forecasting.card import SeriesCard, describe_series_card
from forecasting.domain import Kind, Missing, Series, to_day
from forecasting.errors import AmbiguousUnit, DataError, TooFewDays
from forecasting.panel import Observations
from forecasting.panel_building import build_panel
from forecasting.predictor import Window, usual_bands
from forecasting.warehouse.pages import Page
from forecasting.warehouse.windows import cut_windows
from tests.panels import last_days

FIRST = to_day(dt.date(2024, 1, 1))


def make_series(metric: str, kind: Kind = Kind.count, answered_by: str = "forecaster") -> SeriesCard:
    return describe_series_card(Series("blog", metric, kind), usual_bands(7), answered_by=answered_by)


def observe(metric: str, num_days: int, missing: tuple[int, ...] = ()) -> Observations:
    days = np.setdiff1d(np.arange(num_days), missing)
    return Observations(Series("blog", metric), FIRST + days, days.astype(np.float64))


def as_page(*observed: Observations) -> Page:
    """As PostgreSQL gives it: the newest day first."""
    return Page(
        keys=tuple(observations.series.key for observations in observed),
        counts=np.array([observations.days.size for observations in observed]),
        days=np.concatenate([observations.days[::-1] for observations in observed]),
        values=np.concatenate([observations.values[::-1] for observations in observed]),
    )


def windows_of(*observed: Observations, missing: Missing = Missing.zero) -> list[Window | DataError]:
    series = [make_series(observations.series.metric) for observations in observed]
    return cut_windows(as_page(*observed), series, context_length=56, missing=missing)


def test_windows_are_those_of_the_panel() -> None:
    """However many are read together, and whatever gaps they have."""
    observed = [observe(str(number), 60 + number, tuple(range(20, 20 + number % 20))) for number in range(30)]
    for missing in Missing:
        panel = build_panel(observed, today=dt.date(2030, 1, 1), missing=missing)
        for row, window in enumerate(windows_of(*observed, missing=missing)):
            assert isinstance(window, Window)
            history, first_day = last_days(panel, row, 56)
            np.testing.assert_array_equal(window.history, history)
            assert window.first_day == first_day


def test_window_ends_on_the_series_own_last_day() -> None:
    """Alone or read together with a series that goes on: the same window."""
    [alone], [_, together] = windows_of(observe("signups", 70)), windows_of(observe("x", 300), observe("signups", 70))
    for window in (alone, together):
        assert isinstance(window, Window)
        np.testing.assert_array_equal(window.history, np.arange(14, 70))
        assert window.first_day == FIRST + 14


def test_short_history_is_padded_and_too_short_a_one_refused() -> None:
    [padded] = windows_of(observe("page_visits", 40))
    assert isinstance(padded, Window)
    assert np.isnan(padded.history[:16]).all()
    np.testing.assert_array_equal(padded.history[16:], np.arange(40))
    assert padded.first_day == FIRST - 16
    [holes] = windows_of(observe("page_visits", 80, missing=tuple(range(27, 70))), missing=Missing.mask)
    assert isinstance(holes, TooFewDays)
    assert str(holes) == (
        "page_visits of blog has 13 known days among the last 56; a forecast needs 14. "
        "Load the missing days, or train with data.missing=zero if they had no traffic."
    )
    [holes] = windows_of(observe("page_visits", 80, missing=tuple(range(27, 70))))
    assert isinstance(holes, TooFewDays)
    assert str(holes) == (
        "page_visits of blog has 13 known days among the last 56; a forecast needs 14. "
        "Load the missing days, as rows of 0 if they had no traffic."
    )
    [short] = windows_of(observe("page_visits", 29))
    assert isinstance(short, TooFewDays)
    assert str(short) == (
        "page_visits of blog has fewer than 30 days of data; at least 30 are needed. Wait for more, or load older days."
    )


def test_rate_that_is_no_fraction_is_refused_by_itself() -> None:
    series = [make_series("bounce_rate", kind=Kind.rate), make_series("clicks")]
    page = as_page(observe("bounce_rate", 60), observe("clicks", 60))
    refused, window = cut_windows(page, series, context_length=56, missing=Missing.zero)
    assert isinstance(refused, AmbiguousUnit)
    assert str(refused) == (
        "bounce_rate of blog has the unit fraction, 0..1, but its values are 0..59. "
        "Set metrics.bounce_rate.unit=percent if they are 0..100."
    )
    assert isinstance(window, Window)


def test_window_has_what_the_card_says_of_its_series() -> None:
    series = [make_series("visits"), make_series("share", Kind.rate, answered_by="seasonal_naive")]
    shares = observe("share", 60)
    page = as_page(observe("visits", 60), Observations(shares.series, shares.days, shares.values / 60))
    visits, share = cut_windows(page, series, context_length=56, missing=Missing.zero)
    assert isinstance(visits, Window)
    assert isinstance(share, Window)
    assert (visits.kind, visits.naive, share.kind, share.naive) == (Kind.count, False, Kind.rate, True)
    np.testing.assert_array_equal(visits.band_scale, np.array(usual_bands(7).scale, np.float32))
