"""Plots of daily series and forecast bands, drawn with matplotlib."""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from forecasting.domain import to_date
from forecasting.evaluation.scoring import LOWER, UPPER
from forecasting.model.forecaster import MEDIAN

MAX_PANELS = 6  # series in one plot


@contextmanager
def figure(
    file: Path, num_series: int, *, title: str, sharex: bool, below: bool = False
) -> Iterator[Any]:  # Any: matplotlib has no types
    """Axes below each other, one for each of the first MAX_PANELS series. Writes the file on exit.

    With `below` one axis more, last, which is not of days.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    num_panels = min(num_series, MAX_PANELS)
    if num_series > num_panels:
        title = f"{title} (the first {num_panels} of {num_series} series)"
    num_axes = num_panels + below
    canvas, axes = pyplot.subplots(num_axes, 1, figsize=(11, 1 + 2.6 * num_axes), squeeze=False)
    yield axes[:, 0]
    for axis in axes[:, 0]:
        axis.grid(alpha=0.25)
    for axis in axes[:num_panels, 0]:
        axis.set_ylabel("a day")
    canvas.legend(*axes[0, 0].get_legend_handles_labels(), loc="upper right", ncols=3, fontsize=9, frameon=False)
    height = canvas.get_figheight()
    canvas.suptitle(title, fontsize=11, x=0.01, y=1 - 0.1 / height, ha="left", va="top")
    if sharex:
        _share_days(axes[:num_panels, 0])
    canvas.tight_layout(rect=(0, 0, 1, 1 - 0.25 / height))
    file.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(file, dpi=110)
    pyplot.close(canvas)


def _share_days(axes: Any) -> None:  # Any: matplotlib has no types
    """One range of days, labelled below the last of the axes."""
    for axis in axes[1:]:
        axis.sharex(axes[0])
    for axis in axes[:-1]:
        axis.tick_params(labelbottom=False)
    for label in axes[-1].get_xticklabels():
        label.set(rotation=30, ha="right")


def draw_observed(axis: Any, first_day: int, values: Float[np.ndarray, " days"]) -> None:
    """The series' values from `first_day` (in days since 1970-01-01) on."""
    axis.plot(_dates(first_day, len(values)), values, color="0.25", linewidth=1.2, label="observed")


def draw_band(
    axis: Any, first_day: int, quantiles: Float[np.ndarray, "horizon levels"], *, color: str, label: str | None
) -> None:
    """A forecast's median and 80% band."""
    dates = _dates(first_day, len(quantiles))
    axis.fill_between(dates, quantiles[:, LOWER], quantiles[:, UPPER], color=color, alpha=0.2, linewidth=0)
    axis.plot(dates, quantiles[:, MEDIAN], color=color, marker="o", markersize=3, linewidth=1.2, label=label)


def draw_name(axis: Any, name: str) -> None:
    axis.set_title(name, loc="left", fontsize=10)


def _dates(first_day: int, num_days: int) -> list[dt.date]:
    return [to_date(first_day + offset) for offset in range(num_days)]
