"""What a version knows of its series."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from forecasting.card import Card, SeriesCard, describe_series_card, format_card, read_card
from forecasting.domain import Kind, Series, Unit
from forecasting.errors import UnknownMetric, UnknownSite
from forecasting.predictor import usual_bands
from forecasting.settings.schema import MetricConfig


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
