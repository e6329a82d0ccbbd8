"""Rates as fractions, 0..1. Whether a source stores them as 0..1 or as 0..100 is a setting, never a guess. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from forecasting.domain import Kind, Unit
from forecasting.errors import AmbiguousUnit
from forecasting.panel import Observations
from forecasting.settings.schema import MetricConfig


def rates_as_fractions(
    observations: Sequence[Observations],
    metrics: Mapping[str, MetricConfig],
    *,
    named: Sequence[str],
    notes: list[str],
) -> tuple[Observations, ...]:
    """`rate_as_fraction` of each; rates without a unit are left out. Raises AmbiguousUnit if that leaves nothing."""
    rows = [rate_as_fraction(row, metrics, named=named, notes=notes) for row in observations]
    usable = tuple(row for row in rows if row is not None)
    if observations and not usable:
        raise AmbiguousUnit(_ask_for_unit(observations[0]))
    return usable


def rate_as_fraction(
    observations: Observations, metrics: Mapping[str, MetricConfig], *, named: Sequence[str], notes: list[str]
) -> Observations | None:
    """A rate as 0..1; any other series unchanged. None, and a note, for a rate without a unit.

    Raises AmbiguousUnit if that rate is among the `named` metrics, or if the values contradict the unit.
    """
    series = observations.series
    if series.kind is not Kind.rate:
        return observations
    unit = metrics[series.metric].unit
    if unit is None:
        if series.metric in named:
            raise AmbiguousUnit(_ask_for_unit(observations))
        notes.append(f"{series.name} is left out. {_ask_for_unit(observations)}")
        return None
    known = observations.values[np.isfinite(observations.values)]
    if unit is Unit.fraction and known.size and np.median(known) > 1:
        raise AmbiguousUnit(
            f"{series.name} has the unit fraction, 0..1, but {_describe_range(observations)}. "
            f"Set metrics.{series.metric}.unit=percent if they are 0..100."
        )
    return replace(observations, values=observations.values / series.unit_scale)


def _ask_for_unit(observations: Observations) -> str:
    metric = observations.series.metric
    return (
        f"{metric} is a rate, and rates are stored as 0..1 or as 0..100; {_describe_range(observations)}. The unit is "
        f"never guessed: set metrics.{metric}.unit=fraction or metrics.{metric}.unit=percent."
    )


def _describe_range(observations: Observations) -> str:
    known = observations.values[np.isfinite(observations.values)]
    return f"its values are {known.min():g}..{known.max():g}" if known.size else "it has no value yet"
