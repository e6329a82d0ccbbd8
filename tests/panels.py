"""Panels whose truth is known."""

import datetime as dt

import numpy as np

from forecasting.domain import Series, Verdict, to_day
from forecasting.panel import Observations, Panel
from forecasting.panel_building import build_panel

WEEK = np.array([1.0, 1.1, 1.05, 1.0, 0.9, 0.5, 0.45])  # a site of working days


def make_panel(num_days: int, *, num_series: int = 2, noise: float = 0.05, seed: int = 0) -> Panel:
    """Weekly seasonality with proportional noise: the mean over weeks is the best forecast there is."""
    random = np.random.default_rng(seed)
    first = to_day(dt.date(2024, 1, 1))
    days = np.arange(first, first + num_days)
    return build_panel(
        [
            Observations(
                Series("blog", f"metric_{number}" if number else "page_visits"),
                days,
                np.round(200 * (number + 1) * WEEK[(days + 3) % 7] * np.exp(noise * random.normal(size=num_days))),
            )
            for number in range(num_series)
        ],
        today=dt.date(2030, 1, 1),
    )


def last_days(panel: Panel, row: int, num_days: int) -> tuple[np.ndarray, int]:
    """A series' last days up to its own last one, day by day, and the first of them in days since 1970-01-01."""
    end = max(day for day in range(panel.num_days) if panel.verdicts[row, day] != Verdict.before)
    days = range(end - num_days + 1, end + 1)
    history = [panel.values[row, day] if day >= 0 else np.nan for day in days]
    return np.array(history, np.float32), panel.first_day + days.start
