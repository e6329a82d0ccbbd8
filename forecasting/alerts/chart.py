"""A small picture for a message: the last eight weeks of a series, what was expected, and the unusual days."""

import asyncio
import datetime as dt
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from forecasting.domain import MessageKind
from forecasting.monitoring.wording import name_metric
from forecasting.warehouse.message_store import Message
from forecasting.warehouse.queries import Connection, fetch

SHOWN_DAYS = 56
DAYS_AHEAD = 7
SIZE_INCHES, DOTS_PER_INCH = (6.4, 2.9), 120
INK, MUTED, GRID, BAND, FORECAST, ALARM = "#16191d", "#565e69", "#e9ebee", "#c9ddf8", "#1d5fc2", "#b83a0a"


@dataclass(frozen=True)
class ChartedDay:
    """None where nothing is known. The band is 80%."""

    day: dt.date
    value: float | None
    lower: float | None
    median: float | None
    upper: float | None
    direction: str  # high or low; empty: as expected
    expected_lower: float | None
    expected_upper: float | None


async def make_picture(connection: Connection, message: Message) -> bytes | None:
    """A PNG of the series that the message is mostly about; None if it is about none."""
    series = await _find_series(connection, message)
    if series is None:
        return None
    site, metric = series
    ahead = DAYS_AHEAD if message.kind is MessageKind.weekly else 0
    last = message.day + dt.timedelta(days=max(ahead - 1, 0))
    first = message.day - dt.timedelta(days=SHOWN_DAYS - 1)
    days = [ChartedDay(**row) for row in await fetch(connection, "read_charted_days", site, metric, first, last)]
    return await asyncio.to_thread(draw, days, title=f"{site}: {name_metric(metric)}")


async def _find_series(connection: Connection, message: Message) -> tuple[str, str] | None:
    if message.kind is MessageKind.weekly:
        return message.sites[0], message.metrics[0]
    if message.kind is not MessageKind.unusual:
        return None
    rows = await fetch(connection, "find_charted_series", message.sites, message.day, message.direction)
    return (rows[0]["site"], rows[0]["metric"]) if rows else None


def draw(days: Sequence[ChartedDay], *, title: str) -> bytes:
    import matplotlib.dates
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE_INCHES, dpi=DOTS_PER_INCH, layout="constrained")  # pyplot is not for threads
    axis: Any = figure.subplots()  # Any: matplotlib takes dates, which its types do not say
    _draw_bands(axis, days)
    axis.plot([day.day for day in days], [_or_gap(day.value) for day in days], color=INK, linewidth=1.6)
    _draw_unusual(axis, days)
    axis.set_title(title, loc="left", fontsize=11, color=INK)
    axis.set_title("blue: expected, 80% band", loc="right", fontsize=9, color=FORECAST)
    if all(day.value is None or day.value >= 0 for day in days):
        axis.set_ylim(bottom=0)
    axis.set_xlim(days[0].day, days[-1].day + dt.timedelta(days=1))
    ticks: Any = matplotlib.dates  # Any: it has no types
    axis.xaxis.set_major_locator(ticks.WeekdayLocator(byweekday=0, interval=2))
    axis.xaxis.set_major_formatter(ticks.DateFormatter("%-d %b"))
    axis.yaxis.set_major_formatter("{x:,g}")
    axis.grid(axis="y", color=GRID)
    axis.tick_params(colors=MUTED, labelsize=9, length=0)
    axis.spines[:].set_visible(False)
    out = io.BytesIO()
    canvas: Any = FigureCanvasAgg(figure)  # Any: it has no types
    canvas.print_png(out)
    return out.getvalue()


def _draw_bands(axis: Any, days: Sequence[ChartedDay]) -> None:  # Any: matplotlib's
    """What was expected the day before, and of the days ahead."""
    axis.fill_between(
        [day.day for day in days],
        [_or_gap(day.lower) for day in days],
        [_or_gap(day.upper) for day in days],
        color=BAND,
        linewidth=0,
    )
    newest = max((day.day for day in days if day.value is not None), default=dt.date.min)
    ahead = [day for day in days if day.day > newest and day.median is not None]
    axis.plot([day.day for day in ahead], [day.median for day in ahead], color=FORECAST, linewidth=2)


def _draw_unusual(axis: Any, days: Sequence[ChartedDay]) -> None:  # Any: matplotlib's
    """A triangle where the day is, and a bar where it was expected."""
    for day in days:
        if day.direction and day.value is not None:
            axis.vlines(day.day, day.expected_lower, day.expected_upper, color=FORECAST, linewidth=5, alpha=0.5)
            mark = "^" if day.direction == "high" else "v"
            axis.plot([day.day], [day.value], marker=mark, markersize=9, color=ALARM, clip_on=False)


def _or_gap(value: float | None) -> float:
    """Lines and bands break where a day is not known."""
    return math.nan if value is None else value
