"""The effects of known days on every series of a panel."""

from collections.abc import Mapping
from types import MappingProxyType

from forecasting.domain import SeriesKey
from forecasting.known_days.effects import Effects, learn_effects
from forecasting.known_days.holiday_calendar import name_days
from forecasting.panel import Panel
from forecasting.settings.schema import DataConfig

KnownDays = Mapping[SeriesKey, tuple[str, Effects]]  # of a series: its country and the effects of its holidays
NOTHING_KNOWN = ("", Effects())
NO_DAYS: KnownDays = MappingProxyType({})


def learn_known_days(panel: Panel, data: DataConfig) -> KnownDays:
    """Of the series whose sites have a country, from all days of the panel."""
    known: dict[SeriesKey, tuple[str, Effects]] = {}
    days = range(panel.first_day, panel.cutoff + 1)
    for series, values in zip(panel.series, panel.values, strict=True):
        if country := data.country_of(series.site):
            names = name_days(country, days)
            known[series.key] = country, learn_effects(values, panel.first_day, names, kind=series.kind)
    return known
