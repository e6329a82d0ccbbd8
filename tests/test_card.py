"""What a version knows of its series."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from forecasting.card import (
    Card,
    SeriesCard,
    add_regressors,
    describe_series_card,
    format_card,
    make_windows,
    read_card,
)
from forecasting.domain import Kind, Series, Unit
from forecasting.errors import UnknownMetric, UnknownSite
from forecasting.known_days.effects import Effects, NamedEffect
from forecasting.known_days.regressors import DailyValues, RegressorEffect, Regressors
from forecasting.predictor import SEASONAL_NAIVE, usual_bands
from forecasting.settings.schema import MetricConfig

EFFECT = RegressorEffect("price", 0.5, mean=0.5, spread=0.5, low=0.0, high=1.0)
DAYS = Regressors({"blog": {"price": DailyValues(19_000, np.append(np.zeros(56), [1.0]))}})


def make_series(metric: str = "page_visits", *, site: str = "blog") -> SeriesCard:
    return describe_series_card(Series(site, metric), usual_bands(7))


def make_card(*series: SeriesCard) -> Card:
    return Card(
        version="v1", created_at="", model={"sequence_length": 7, "prediction_horizon": 7}, context_length=56,
        levels=(0.1, 0.5, 0.9), total_parameters=0, features=(), data={}, series=series, training={}, libraries={},
        hashes={}, usual_band_scale=usual_bands(7).scale,
    )  # fmt: skip


def test_series_are_found_or_named() -> None:
    card = make_card(make_series(), make_series("signups"))
    assert card.find_series(metric="signups", site=None).metric == "signups"
    with pytest.raises(UnknownMetric) as refusal:
        card.find_series(metric="x", site="blog")
    assert str(refusal.value) == ("There is no metric 'x' in version v1. It was trained on: page_visits, signups.")
    with pytest.raises(UnknownSite) as refusal_of_site:
        card.find_series(metric="page_visits", site="x")
    assert str(refusal_of_site.value) == "There is no site 'x' in version v1. It was trained on: blog."
    two = make_card(make_series(), make_series(site="shop"))
    with pytest.raises(UnknownSite, match="There are 2 sites: say which with `site`, one of blog, shop."):
        two.find_series(metric="page_visits", site=None)


def test_thousands_of_sites_are_not_all_named() -> None:
    card = make_card(*(make_series(site=f"site{number:04}") for number in range(3000)))
    with pytest.raises(UnknownSite) as refusal:
        card.find_series(metric="page_visits", site="x")
    assert str(refusal.value).endswith("site0018, site0019 and 2,980 more.")


def test_metric_is_configured_as_the_version_was_trained() -> None:
    percent = replace(make_series(), kind=Kind.rate, unit_scale=100.0, additive=False)
    assert percent.metric_config == MetricConfig(kind=Kind.rate, unit=Unit.percent, additive=False)
    assert replace(percent, unit_scale=1.0).metric_config.unit is Unit.fraction
    assert make_series().metric_config == MetricConfig(kind=Kind.count, unit=None, additive=True)


def test_card_of_an_older_version_gets_a_factor_for_each_day_ahead(tmp_path: Path) -> None:
    """Bands had a factor for each day of the horizon, and one for each week; who answers was `answers`."""
    card = make_card(make_series())
    older = json.loads(format_card(card))
    del older["usual_band_scale"]
    [series] = older["series"]
    del series["answered_by"]
    series |= {"band_scale": [2.0] * 7, "widening": [1.0, 1.85, 2.7, 3.55, 4.4], "answers": "seasonal_naive"}
    (tmp_path / "model.json").write_text(json.dumps(older))
    [read] = read_card(tmp_path / "model.json").series
    assert read.band_scale == pytest.approx([2.0 * factor for factor in usual_bands(7).scale])
    assert read.answered_by == "seasonal_naive"
    assert read_card(tmp_path / "model.json").usual_band_scale == ()


def test_regressors_are_kept_and_older_cards_have_none(tmp_path: Path) -> None:
    effect = RegressorEffect("temperature", 0.1, mean=15.5, spread=5.25, low=-2.0, high=30.0, gain=0.125)
    card = make_card(replace(make_series(), regressors=(effect,)), make_series("signups"))
    file = tmp_path / "model.json"
    file.write_text(format_card(card))
    assert read_card(file) == card
    older = json.loads(format_card(card))
    for series in older["series"]:
        del series["regressors"]
    file.write_text(json.dumps(older))
    assert read_card(file).series == (make_series(), make_series("signups"))


def test_windows_of_series_without_regressors_stay_as_they_are() -> None:
    cards = [make_series(), replace(make_series("visits"), answered_by=SEASONAL_NAIVE, regressors=(EFFECT,))]
    windows = make_windows(cards, np.ones((2, 56), np.float32), np.full(2, 19_000), days_ahead=7)
    assert add_regressors(windows, cards, DAYS) is windows
    other = add_regressors(windows, [cards[0], replace(cards[0], regressors=(EFFECT,))], DAYS)
    assert other.effects is not None
    assert not other.effects[0].any()
    np.testing.assert_allclose(other.effects[1], [-0.5] * 56 + [0.5, *[0.0] * 6])


def test_effects_of_regressors_and_of_holidays_add_up() -> None:
    christmas = 19_716  # 2023-12-25, a Monday
    effects = Effects({"Christmas Day": NamedEffect(-0.75, 0.0)})
    card = replace(make_series(), country="US", effects=effects, regressors=(EFFECT,))
    days = Regressors({"blog": {"price": DailyValues(christmas - 56, np.append(np.zeros(56), [1.0]))}})
    windows = make_windows([card], np.ones((1, 56), np.float32), np.array([christmas - 56]), days_ahead=2)
    both = add_regressors(windows, [card], days).effects
    assert both is not None
    np.testing.assert_allclose(both[0, 54:], [-0.5, -0.5, -0.75 + 0.5, 0.0])
