"""What an answer's notes say about known days."""

import datetime as dt
from dataclasses import replace

from forecasting.card import describe_series_card
from forecasting.domain import Kind, Series, to_day
from forecasting.known_days.effects import Effects, NamedEffect
from forecasting.known_days.events import EVENT, Event
from forecasting.predictor import SEASONAL_NAIVE, usual_bands
from forecasting.serving.known_days import describe_known_days

UNTIL = dt.date(2026, 11, 23)
FIRST = to_day(UNTIL) + 1
CARD = describe_series_card(Series("shop", "visits"), usual_bands(7))
LEARNED = Effects({EVENT + "Sale": NamedEffect(0.5, 0.3)})


def test_holidays_and_events_ahead_are_named() -> None:
    card = replace(CARD, country="US", effects=LEARNED)
    events = [
        Event("Sale", FIRST - 5, FIRST + 1),
        Event("Sale", FIRST + 40, FIRST + 41),
        Event("Launch", FIRST + 6, FIRST + 6, size=2.0),
        Event("Fair", FIRST + 2, FIRST + 2),
    ]
    assert describe_known_days(card, events, UNTIL, 7) == [
        "The forecast expects holidays of US: Thanksgiving Day (2026-11-26).",
        "The forecast expects events: Sale (2026-11-19 to 2026-11-25), Launch (2026-11-30).",
        "The forecast does not know what these events do: Fair (2026-11-26). Train again after one of that name, or "
        "give them a size.",
    ]
    assert describe_known_days(card, events, UNTIL, 1) == [
        "The forecast expects events: Sale (2026-11-19 to 2026-11-25)."
    ]


def test_a_size_says_nothing_of_rates_and_nobody_expects_what_is_not_used() -> None:
    launch = [Event("Launch", FIRST, FIRST, size=2.0)]
    [note] = describe_known_days(replace(CARD, kind=Kind.rate), launch, UNTIL, 7)
    assert note.startswith("The forecast does not know what these events do: Launch (2026-11-24).")
    assert describe_known_days(replace(CARD, answered_by=SEASONAL_NAIVE), launch, UNTIL, 7) == []
    assert describe_known_days(CARD, [], UNTIL, 7) == []
