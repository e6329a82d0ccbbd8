"""What a rate is stored as, 0..1 or 0..100: said, never guessed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from forecasting.domain import Kind, Unit
from forecasting.errors import AmbiguousUnit
from forecasting.panel import Observations
from forecasting.settings.schema import MetricConfig


def tell_units(
    found: Sequence[Observations], metrics: Mapping[str, MetricConfig], *, named: Sequence[str], notes: list[str]
) -> tuple[Observations, ...]:
    """Those whose unit is told, by `tell_unit`. Raises AmbiguousUnit where there are series, and of none it is."""
    told = [tell_unit(one, metrics, named=named, notes=notes) for one in found]
    observations = tuple(one for one in told if one is not None)
    if found and not observations:
        raise AmbiguousUnit(_ask_unit(found[0]))
    return observations


def tell_unit(
    one: Observations, metrics: Mapping[str, MetricConfig], *, named: Sequence[str], notes: list[str]
) -> Observations | None:
    """A rate in 0..1; anything else as it is; None for a rate whose unit nobody said, with a note."""
    if one.series.kind is not Kind.rate:
        return one
    unit = metrics[one.series.metric].unit
    if unit is None:
        if one.series.metric in named:
            raise AmbiguousUnit(_ask_unit(one))
        notes.append(f"{one.series.name} is left out. {_ask_unit(one)}")
        return None
    known = one.values[np.isfinite(one.values)]
    if unit is Unit.fraction and known.size and np.median(known) > 1:
        raise AmbiguousUnit(
            f"{one.series.name} is said to be a fraction, 0..1, but {_range(one)}. "
            f"Say metrics.{one.series.metric}.unit=percent if it is 0..100."
        )
    return replace(one, values=one.values / one.series.unit_scale)


def _ask_unit(one: Observations) -> str:
    key = f"metrics.{one.series.metric}.unit"
    return (
        f"{one.series.metric} is a rate, stored as 0..1 or as 0..100: {_range(one)}, and the two are never told apart "
        f"by guessing. Say {key}=fraction or {key}=percent."
    )


def _range(one: Observations) -> str:
    known = one.values[np.isfinite(one.values)]
    return f"its values are {known.min():g}..{known.max():g}" if known.size else "it has no value yet"
