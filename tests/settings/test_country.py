"""`data.country`: of all sites and of single ones, and what is refused."""

import pytest

from forecasting.errors import SettingError
from forecasting.settings.countries import suggest_country
from forecasting.settings.schema import DataConfig


def test_single_sites_may_have_another_country_or_none() -> None:
    data = DataConfig(country=["US", "blog=DE-BY", "shop=off"])
    assert [data.country_of(site) for site in ("news", "blog", "shop")] == ["US", "DE-BY", ""]
    assert data.has_countries
    assert DataConfig().country_of("news") == ""
    assert not DataConfig(country=["off"]).has_countries


@pytest.mark.parametrize(
    ("country", "refusal"),
    [
        ("Usa", "data.country is 'Usa', a country whose holidays are not known. Did you mean USA?"),
        (
            "blog=Atlantis",
            "data.country for the site 'blog' is 'Atlantis', a country whose holidays are not known. "
            "Write an ISO code such as US or DE-BY, or off.",
        ),
    ],
)
def test_unknown_country_is_refused(country: str, refusal: str) -> None:
    with pytest.raises(SettingError) as error:
        DataConfig(country=[country])
    assert str(error.value) == refusal


def test_a_time_zone_suggests_a_country_only_if_it_is_of_one() -> None:
    zones = ("Europe/Paris", "Europe/Copenhagen", "America/New_York", "Asia/Tokyo", "UTC", "CET", "US/Eastern")
    assert [suggest_country(zone) for zone in zones] == ["FR", "DK", "US", "JP", None, None, None]
