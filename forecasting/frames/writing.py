"""Forecasts as a data frame of the kind that came in."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import narwhals as nw
import numpy as np
from jaxtyping import Bool, Float, Int

from forecasting.frames.reading import FrameSeries


def write_frame(
    frame: FrameSeries,
    *,
    series: Int[np.ndarray, " rows"],
    days: Mapping[str, Int[np.ndarray, " rows"]],
    values: Mapping[str, Float[np.ndarray, " rows"]],
    flags: Mapping[str, Bool[np.ndarray, " rows"]] = MappingProxyType({}),
) -> Any:  # Any: the user's own kind of frame
    """Each row's series, its columns of days (since 1970-01-01), values and flags, in this order."""
    backend = frame.implementation
    columns: dict[str, nw.Series[Any]] = {}
    if frame.ids is not None:
        columns[frame.columns.id] = _rename(frame.ids[series], frame.columns.id)
    for name, numbers in days.items():
        columns[name] = _write_days(frame, name, numbers)
    for name, numbers in values.items():
        columns[name] = nw.new_series(name, np.ascontiguousarray(numbers), nw.Float64, backend=backend)
    for name, marks in flags.items():
        columns[name] = nw.new_series(name, marks, nw.Boolean, backend=backend)
    frames = [column.to_frame() for column in columns.values()]
    return nw.concat(frames, how="horizontal").to_native()  # from_dict would turn categories into text


def _rename(ids: "nw.Series[Any]", name: str) -> "nw.Series[Any]":
    """With an index of its own, where its kind of frame has one."""
    return nw.maybe_reset_index(ids.rename(name))


def _write_days(frame: FrameSeries, name: str, days: Int[np.ndarray, " rows"]) -> "nw.Series[Any]":
    """As the frame has its days: dates, datetimes or text."""
    dtype = frame.days.dtype
    moments = days.astype("datetime64[D]")
    backend = frame.implementation
    if isinstance(dtype, nw.String):
        return nw.new_series(name, [str(day) for day in moments], nw.String, backend=backend)
    if isinstance(dtype, nw.Datetime):
        return nw.new_series(name, moments.astype(f"datetime64[{dtype.time_unit}]"), dtype, backend=backend)
    if isinstance(dtype, nw.Date):
        return nw.new_series(name, moments.astype(object).tolist(), dtype, backend=backend)
    return nw.new_series(name, moments.astype(object).tolist(), backend=backend)  # Python's dates
