"""Rates in 0..1, whichever unit their settings name; without a unit they are left out or refused."""

import numpy as np
import pytest

from forecasting.domain import Kind, Unit
from forecasting.errors import AmbiguousUnit
from forecasting.panel import Observations, describe_series
from forecasting.settings.schema import MetricConfig
from forecasting.warehouse.units import rates_as_fractions


def observe(values: list[float], setting: MetricConfig, *, metric: str = "bounce_rate") -> Observations:
    return Observations(
        describe_series("blog", metric, setting, otherwise=Kind.count), np.arange(len(values)), np.array(values)
    )


def convert(*values: float, unit: Unit | None, named: tuple[str, ...] = ()) -> list[float]:
    setting = MetricConfig(kind=Kind.rate, unit=unit)
    [rate] = rates_as_fractions([observe(list(values), setting)], {"bounce_rate": setting}, named=named, notes=[])
    return rate.values.tolist()


def test_percentages_become_fractions_and_fractions_stay() -> None:
    assert convert(0.0, 45.5, 100.0, unit=Unit.percent) == [0.0, 0.455, 1.0]
    assert convert(0.0, 0.455, 1.0, unit=Unit.fraction) == [0.0, 0.455, 1.0]
    assert convert(1.0, 1.0, 1.0, unit=Unit.fraction) == [1.0, 1.0, 1.0]
    np.testing.assert_array_equal(convert(0.5, np.nan, unit=Unit.fraction), [0.5, np.nan])
    np.testing.assert_array_equal(convert(np.nan, np.inf, unit=Unit.fraction), [np.nan, np.inf])


def test_single_values_above_one_are_not_the_units_fault() -> None:
    assert convert(0.5, 0.6, 7.0, unit=Unit.fraction) == [0.5, 0.6, 7.0]
    with pytest.raises(AmbiguousUnit) as refusal:
        convert(0.5, 1.5, 45.0, unit=Unit.fraction)
    assert "its values are 0.5..45" in str(refusal.value)
    assert "metrics.bounce_rate.unit=percent" in str(refusal.value)


def test_rate_without_a_unit_is_left_out_unless_it_is_named() -> None:
    rate, count = MetricConfig(kind=Kind.rate), MetricConfig()
    rows = [observe([50.0], count, metric="visits"), observe([20.0, 50.0, np.nan], rate)]
    metrics, notes = {"visits": count, "bounce_rate": rate}, []
    assert rates_as_fractions(rows, metrics, named=["visits"], notes=notes) == (rows[0],)
    [note] = notes
    assert note.startswith("bounce_rate of blog is left out.")
    assert "its values are 20..50" in note
    assert "metrics.bounce_rate.unit=fraction" in note
    with pytest.raises(AmbiguousUnit, match="metrics.bounce_rate.unit=percent"):
        rates_as_fractions(rows, metrics, named=["bounce_rate"], notes=[])


def test_nothing_but_rates_without_a_unit_is_refused() -> None:
    rate = MetricConfig(kind=Kind.rate)
    with pytest.raises(AmbiguousUnit, match="it has no value yet"):
        rates_as_fractions([observe([np.nan], rate)], {"bounce_rate": rate}, named=[], notes=[])
    rows = [observe([20.0], rate), observe([30.0], rate, metric="exit_rate")]
    with pytest.raises(AmbiguousUnit, match=r"^bounce_rate is a rate, .* its values are 20\.\.20"):
        rates_as_fractions(rows, {"bounce_rate": rate, "exit_rate": rate}, named=[], notes=[])
    assert rates_as_fractions([], {}, named=[], notes=[]) == ()
