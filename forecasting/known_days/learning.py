"""The effects of known days, holidays and events, on every series of a panel."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from forecasting.domain import Kind, SeriesKey
from forecasting.known_days.effects import Effects, learn_effects, to_even
from forecasting.known_days.events import NO_EVENTS, Event, Events, layer_events, list_event_days
from forecasting.known_days.holiday_calendar import name_days
from forecasting.panel import Panel
from forecasting.settings.schema import DataConfig

NOTHING_KNOWN = ("", Effects())


@dataclass(frozen=True)
class KnownDays:
    """`by_series` has the country of a series' site, and the effects of holidays and events on it."""

    by_series: Mapping[SeriesKey, tuple[str, Effects]] = field(default_factory=dict)
    events: Events = NO_EVENTS

    def of(self, key: SeriesKey) -> tuple[str, Effects]:
        return self.by_series.get(key, NOTHING_KNOWN)


NO_DAYS = KnownDays()


def learn_known_days(panel: Panel, data: DataConfig, events: Events) -> KnownDays:
    """Of the series whose sites have a country or events, from all days of the panel."""
    known: dict[SeriesKey, tuple[str, Effects]] = {}
    for series, values in zip(panel.series, panel.values, strict=True):
        country, own = data.country_of(series.site), events.of(series.site)
        if country or own:
            known[series.key] = country, learn_days(values, panel.first_day, country, own, kind=series.kind)
    return KnownDays(known, events)


def name_known_days(country: str, events: Sequence[Event], days: range) -> dict[int, str]:
    """Holidays, days beside them, and events; several names of a day with commas between."""
    names = dict(name_days(country, days)) if country else {}
    for day, name in list_event_days(events, days):
        names[day] = f"{names[day]}, {name}" if day in names else name
    return names


def learn_days(
    values: Float[np.ndarray, " days"], first_day: int, country: str, events: Sequence[Event], *, kind: Kind
) -> Effects:
    """From all of a series' past values, NaN where unknown. `country` is empty for no holidays.

    Effects that meet on a day add up. A holiday is learned from its days without an event, if it has any, and an event
    from what holidays and the events of more days leave.
    """
    days = range(first_day, first_day + len(values))
    layers = [*([name_days(country, days)] if country else []), *layer_events(events, days)]
    if len(layers) == 1:
        return learn_effects(values, first_day, layers[0], kind=kind)
    even, learned = to_even(values, kind), Effects()
    for number, names in enumerate(layers):
        later = [day - first_day for layer in layers[number + 1 :] for day in layer]
        alone = even.copy()
        alone[later] = np.nan
        effects = learn_effects(alone, first_day, names, kind=Kind.other)
        learned = Effects({**learned.by_name, **effects.by_name}, effects.unseen if not number else learned.unseen)
        for day, name in names.items():
            even[day - first_day] -= effects.effect_on(day, name)
    return learned
