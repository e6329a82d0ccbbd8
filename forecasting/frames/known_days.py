"""Holidays and events, and how far each series lies from its usual level on them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from forecasting.card import SeriesCard
from forecasting.errors import SettingError, name_some
from forecasting.frames.reading import FrameSeries
from forecasting.frames.series_rows import SeriesRows, cut_windows
from forecasting.known_days.events import NO_EVENTS, Events
from forecasting.known_days.learning import learn_days
from forecasting.settings.countries import OFF, check_country
from forecasting.settings.schema import Config


def find_countries(frame: FrameSeries, country: str | Mapping[str, str] | None) -> list[str]:
    """The country of each series, or "". `country` is that of all, or of single series by their ids.

    Raises SettingError.
    """
    if country is None:
        return [""] * len(frame.names)
    if isinstance(country, str):
        check_country("country", country)
        return ["" if country == OFF else country] * len(frame.names)
    by_name = {str(name): code for name, code in country.items()}
    unknown = sorted(set(by_name) - {name for name in frame.names if name is not None})
    if unknown:
        raise SettingError(f"country names series that the frame does not have: {name_some(unknown, at_most=5)}.")
    for name, code in by_name.items():
        check_country(f"country[{name!r}]", code)
    return ["" if by_name.get(name or "", OFF) == OFF else by_name[name or ""] for name in frame.names]


def learn_known(
    rows: SeriesRows,
    cards: Sequence[SeriesCard],
    countries: Sequence[str],
    config: Config,
    *,
    names: Sequence[str | None] = (),
    events: Events = NO_EVENTS,
) -> list[SeriesCard]:
    """With the effects of holidays and events as these rows show them, for the series that have any. `names` are those
    by which the events name the series.
    """
    own_events = [events.of(name or "") for name in names] or [()] * len(cards)
    if not (any(countries) or any(own_events)) or not len(rows.days):
        return list(cards)
    last = rows.find_last_days()
    span = int((last[rows.series] - rows.days).max()) + 1
    latest = cut_windows(
        rows, cards, context_length=span, missing=config.data.missing, verdicts=config.verdicts
    )  # fmt: skip
    learned = []
    for place, (card, country, own) in enumerate(zip(cards, countries, own_events, strict=True)):
        known = np.flatnonzero(np.isfinite(latest.history[place]))
        if not (country or own) or not known.size:
            learned.append(card)
            continue
        values, first = latest.history[place, known[0] :], int(latest.first_days[place] + known[0])
        effects = learn_days(values, first, country, own, kind=card.kind)
        learned.append(replace(card, country=country, effects=effects))
    return learned
