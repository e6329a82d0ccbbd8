"""The past days of a series, as they were counted, with the verdicts on them. Pure."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from forecasting.card import SeriesCard
from forecasting.domain import Verdict, to_date
from forecasting.warehouse.pages import Page

Json = dict[str, Any]  # Any: json's own types


def describe_history(card: SeriesCard, page: Page, verdicts: Mapping[int, Verdict]) -> Json:
    """`page` has the one series, newest day first; `verdicts` those days that are left out of forecasts."""
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
        "left_out": {str(to_date(day)): verdicts[day].name for day in days if day in verdicts},
    }
