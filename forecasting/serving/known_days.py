"""Which known days a forecast expects, for the notes of an answer."""

import datetime as dt
from collections.abc import Sequence

from forecasting.card import SeriesCard
from forecasting.domain import to_date, to_day
from forecasting.known_days.effects import is_beside
from forecasting.known_days.events import Event, effect_of_size
from forecasting.known_days.holiday_calendar import name_days
from forecasting.predictor import SEASONAL_NAIVE


def describe_known_days(card: SeriesCard, events: Sequence[Event], data_until: dt.date, days_ahead: int) -> list[str]:
    """A sentence about holidays, and one about events, among the days ahead, if there are any."""
    if card.answered_by == SEASONAL_NAIVE:
        return []
    first = to_day(data_until) + 1
    days = range(first, first + days_ahead)
    ahead = [event for event in events if event.is_within(days)]
    return [*_describe_holidays(card, days), *_describe_events(card, ahead)]


def _describe_holidays(card: SeriesCard, days: range) -> list[str]:
    names = name_days(card.country, days) if card.country else {}
    expected = [f"{name} ({to_date(day)})" for day, name in sorted(names.items()) if not is_beside(name)]
    return [f"The forecast expects holidays of {card.country}: {', '.join(expected)}."] if expected else []


def _describe_events(card: SeriesCard, ahead: Sequence[Event]) -> list[str]:
    """An event has an effect if the version has learned its name, or if it has a size and the metric is a count."""
    has_effect = [card.effects.knows_event(event.name) or effect_of_size(event.size, card.kind) != 0 for event in ahead]
    expected = [event.describe() for event, has in zip(ahead, has_effect, strict=True) if has]
    unknown = [event.describe() for event, has in zip(ahead, has_effect, strict=True) if not has]
    notes = [f"The forecast expects events: {', '.join(dict.fromkeys(expected))}."] if expected else []
    if unknown:
        notes.append(
            f"The forecast does not know what these events do: {', '.join(dict.fromkeys(unknown))}. Train again after "
            "one of that name, or give them a size."
        )
    return notes
