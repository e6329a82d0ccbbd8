"""Plots of frames: what was counted, and forecasts with their bands."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
from jaxtyping import Bool

from forecasting.errors import DataError, SettingError
from forecasting.frames.forecasts import FORECAST
from forecasting.frames.reading import Columns, FrameSeries
from forecasting.settings.bounds import require

MAX_SERIES, MAX_DAYS = 6, 120
ENGINES = ("matplotlib", "plotly")
COUNTED, EXPECTED = "#444444", "#1f77b4"


@dataclass(frozen=True)
class Line:
    """One series: its last days and its forecast."""

    name: str
    days: Any  # Any: arrays of datetime64, here and below
    values: Sequence[float]
    ahead: Any
    forecast: Sequence[float]
    bands: Sequence[tuple[str, Sequence[float], Sequence[float]]]  # name, lower, upper; the widest first


def draw(frame: FrameSeries, forecasts: Any, *, engine: str, ids: Sequence[Any] | None) -> Any:
    """A figure of the first series, or of `ids`. Any: the user's frames, and the figures of two packages."""
    require(engine in ENGINES, f"engine is {engine!r}; it must be {' or '.join(ENGINES)}.")
    return draw_lines(_read_lines(frame, nw.from_native(forecasts, eager_only=True), ids), engine=engine)


def draw_lines(lines: Sequence[Line], *, engine: str) -> Any:
    """Any: the figures of two packages."""
    return _draw_matplotlib(lines) if engine == "matplotlib" else _draw_plotly(lines)


def _read_lines(frame: FrameSeries, table: "nw.DataFrame[Any]", ids: Sequence[Any] | None) -> list[Line]:
    columns = frame.columns
    for name in (columns.time, FORECAST):
        if name not in table.columns:
            raise DataError(f"There is no column {name!r} in the second frame. Give what forecast() returned.")
    names = [str(each) for each in ids] if ids is not None else [name or "" for name in frame.names[:MAX_SERIES]]
    known = {name or "": place for place, name in enumerate(frame.names)}
    lines = []
    for name in names:
        require(name in known, f"ids has {name!r}, which is no series of the frame.")
        is_its = _find_rows(table, columns, name)
        lines.append(_read_line(frame, known[name], table.filter(is_its.tolist()), name))
    return lines


def _find_rows(table: "nw.DataFrame[Any]", columns: Columns, name: str) -> Bool[np.ndarray, " rows"]:
    if columns.id not in table.columns:
        return np.ones(len(table), bool)
    return np.array([str(each) == name for each in table[columns.id].to_list()], bool)


def _read_line(frame: FrameSeries, place: int, ahead: "nw.DataFrame[Any]", name: str) -> Line:
    rows = frame.rows.select(slice(place, place + 1))
    bands = [re.fullmatch(rf"{FORECAST}-lo-(.+)", column) for column in ahead.columns]
    widths = sorted((match[1] for match in bands if match), key=float, reverse=True)
    return Line(
        name,
        rows.days[-MAX_DAYS:].astype("datetime64[D]"),
        rows.values[-MAX_DAYS:].tolist(),
        np.array([str(day)[:10] for day in ahead[frame.columns.time].to_list()], "datetime64[D]"),
        ahead[FORECAST].to_list(),
        [
            (f"{width}% band", ahead[f"{FORECAST}-lo-{width}"].to_list(), ahead[f"{FORECAST}-hi-{width}"].to_list())
            for width in widths
        ],
    )


def _draw_matplotlib(lines: Sequence[Line]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 0.6 + 2.6 * len(lines)), layout="constrained")
    for axis, line in zip(figure.subplots(len(lines), 1, squeeze=False)[:, 0], lines, strict=True):
        axis.plot(line.days, line.values, color=COUNTED, linewidth=1.2, label="counted")
        for label, lower, upper in line.bands:
            axis.fill_between(line.ahead, lower, upper, color=EXPECTED, alpha=0.2, linewidth=0, label=label)
        axis.plot(line.ahead, line.forecast, color=EXPECTED, marker="o", markersize=3, label="forecast")
        axis.set_title(line.name, loc="left", fontsize=10)
        axis.grid(alpha=0.25)
    figure.axes[0].legend(loc="upper left", fontsize=9, frameon=False)
    return figure


def _draw_plotly(lines: Sequence[Line]) -> Any:
    try:
        from plotly.subplots import make_subplots
    except ImportError as error:
        raise SettingError('engine="plotly" needs the package plotly: pip install plotly.') from error
    figure = make_subplots(rows=len(lines), cols=1, subplot_titles=[line.name for line in lines])
    for row, line in enumerate(lines, 1):
        place, shown = {"row": row, "col": 1}, row == 1
        dates, ahead = ([str(day) for day in days] for days in (line.days, line.ahead))
        figure.add_scatter(x=dates, y=line.values, name="counted", line_color=COUNTED, showlegend=shown, **place)
        for label, lower, upper in line.bands:
            figure.add_scatter(
                x=[*ahead, *ahead[::-1]], y=[*upper, *lower[::-1]], name=label, fill="toself", mode="lines",
                line_width=0, fillcolor="rgba(31, 119, 180, 0.2)", showlegend=shown, **place,
            )  # fmt: skip
        figure.add_scatter(x=ahead, y=line.forecast, name=FORECAST, line_color=EXPECTED, showlegend=shown, **place)
    return figure.update_layout(height=80 + 260 * len(lines), margin={"t": 40})
