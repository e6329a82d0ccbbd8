"""The past days of a series, as they were counted, with the verdicts on them. Pure."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from forecasting.card import SeriesCard
from forecasting.domain import Kind, Verdict, to_date
from forecasting.warehouse.pages import Page

Json = dict[str, Any]  # Any: json's own types


def describe_history(
    card: SeriesCard,
    page: Page,
    verdicts: Mapping[int, Verdict],
    expected: Mapping[int, tuple[float, float, float]],
) -> Json:
    """`page` has the one series, newest day first; `verdicts` the days that are left out of forecasts; `expected` lower
    end, median and upper end of the forecasts made the day before, where they were kept.
    """
    known = {int(day): float(value) for day, value in zip(page.days, page.values, strict=True) if np.isfinite(value)}
    days = range(min(known), max(known) + 1) if known else range(0)
    return {
        "site": card.site,
        "metric": card.metric,
        "kind": card.kind.value,
        "additive": card.additive,
        "first_date": str(to_date(days[0])) if known else None,
        "data_until": str(to_date(days[-1])) if known else None,
        "values": [known.get(day) for day in days],
        "expected": {str(to_date(day)): _describe_band(card, expected[day]) for day in days if day in expected},
        "left_out": {str(to_date(day)): verdicts[day].name for day in days if day in verdicts},
    }


def _describe_band(card: SeriesCard, band: tuple[float, float, float]) -> Json:
    """Counts as whole numbers, other values with the digits that a float32 holds."""
    digits = [round(end) if card.kind is Kind.count else float(f"{end:.6g}") for end in band]
    return dict(zip(("lower", "value", "upper"), digits, strict=True))
