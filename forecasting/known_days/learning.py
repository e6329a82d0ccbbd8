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
    names: dict[str, dict[int, str]] = {}
    for series, values in zip(panel.series, panel.values, strict=True):
        if country := data.country_of(series.site):
            if country not in names:
                names[country] = name_days(country, range(panel.first_day, panel.cutoff + 1))
            effects = learn_effects(values, panel.first_day, names[country], kind=series.kind)
            known[series.key] = country, effects
    return known
