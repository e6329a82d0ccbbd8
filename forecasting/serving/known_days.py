"""Which known days a forecast expects, for the notes of an answer."""

import datetime as dt

from forecasting.card import SeriesCard
from forecasting.domain import to_day
from forecasting.known_days.effects import is_beside
from forecasting.known_days.holiday_calendar import name_days
from forecasting.predictor import SEASONAL_NAIVE


def describe_known_days(card: SeriesCard, data_until: dt.date, days_ahead: int) -> str | None:
    """None if there is none among the days ahead."""
    if not card.country or card.answered_by == SEASONAL_NAIVE:
        return None
    first = to_day(data_until) + 1
    names = name_days(card.country, range(first, first + days_ahead))
    expected = [f"{name} ({data_until + dt.timedelta(day - first + 1)})" for day, name in sorted(names.items())
                if not is_beside(name)]  # fmt: skip
    return f"The forecast expects holidays of {card.country}: {', '.join(expected)}." if expected else None
