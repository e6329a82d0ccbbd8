"""Quantiles of any level: against closed forms, and whatever the numbers are."""

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.domain import Kind
from forecasting.errors import SettingError
from forecasting.frames.levels import band_ends, check_levels, check_quantiles, find_quantiles, name_number

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
NORMAL = NormalDist()


def scores(levels: list[float]) -> np.ndarray:
    return np.array([NORMAL.inv_cdf(level) for level in levels])


def test_normal_in_the_models_units_is_met_at_every_level() -> None:
    wanted = [0.001, 0.05, 0.2, 0.5, 0.6, 0.95, 0.999]
    counts = np.expm1(5 + 0.3 * scores(list(LEVELS)))
    rates = np.sin(0.8 + 0.1 * scores(list(LEVELS))) ** 2
    others = -3 + 2 * scores(list(LEVELS))
    known = np.stack([counts, rates, others])[:, None]
    quantiles = find_quantiles(known, LEVELS, wanted, [Kind.count, Kind.rate, Kind.other])[:, 0]
    np.testing.assert_allclose(quantiles[0], np.expm1(5 + 0.3 * scores(wanted)))
    np.testing.assert_allclose(quantiles[1], np.sin(0.8 + 0.1 * scores(wanted)) ** 2)
    np.testing.assert_allclose(quantiles[2], -3 + 2 * scores(wanted))


def test_count_of_a_model_that_is_not_logarithmic_is_interpolated_as_it_is() -> None:
    known = (100 + 20 * scores(list(LEVELS)))[None, None]
    quantiles = find_quantiles(known, LEVELS, [0.3, 0.99], [Kind.count], logarithmic=False)
    np.testing.assert_allclose(quantiles[0, 0], 100 + 20 * scores([0.3, 0.99]))


def test_tail_never_leaves_the_possible_values() -> None:
    known = np.stack([np.array([0, 0, 0, 1, 2, 3, 4.0]), np.array([0.7, 0.8, 0.9, 0.95, 0.97, 0.99, 1.0])])[:, None]
    quantiles = find_quantiles(known, LEVELS, [0.0001, 0.9999], [Kind.count, Kind.rate])
    assert quantiles[0, 0, 0] == 0
    assert quantiles[1, 0, 1] == 1


@given(
    st.lists(st.floats(0, 1e6, width=32), min_size=7, max_size=7),
    st.lists(st.floats(1e-6, 1 - 1e-6), min_size=2, max_size=9, unique=True),
    st.sampled_from(list(Kind)),
    st.booleans(),
)
def test_quantiles_never_cross_and_the_models_own_stay(
    values: list[float], wanted: list[float], kind: Kind, logarithmic: bool
) -> None:
    known = np.sort(np.array(values, np.float32))[None, None]
    known = known / np.float32(1e6) if kind is Kind.rate else known
    levels = sorted({*wanted, *LEVELS})
    [[quantiles]] = find_quantiles(known, LEVELS, levels, [kind], logarithmic=logarithmic)
    assert np.all(np.diff(quantiles) >= 0)
    np.testing.assert_array_equal(quantiles[[levels.index(level) for level in LEVELS]], known[0, 0])


def test_bands_and_their_names() -> None:
    assert [band_ends(width) for width in (80.0, 90.0, 99.5)] == [(0.1, 0.9), (0.05, 0.95), (0.0025, 0.9975)]
    assert [name_number(number) for number in (80.0, 99.5, 0.07 * 100)] == ["80", "99.5", "7"]
    assert check_levels([90, 80, 80.0]) == [80.0, 90.0]
    assert check_quantiles(np.array([0.9, 0.1])) == [0.1, 0.9]


@pytest.mark.parametrize("width", [0, 100, -5, float("nan"), True, "80"])
def test_impossible_band(width: object) -> None:
    with pytest.raises(SettingError) as caught:
        check_levels([width])
    assert str(caught.value) == f"level has {width!r}; write widths of bands in percent, such as level=[80, 95]."


def test_impossible_quantile() -> None:
    with pytest.raises(SettingError) as caught:
        check_quantiles([10])
    assert str(caught.value) == "quantiles has 10; each must lie between 0 and 1, such as quantiles=[0.1, 0.9]."
