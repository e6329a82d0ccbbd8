"""What a version would no longer forecast that the served one does, on the real PostgreSQL."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from forecasting.artifact import Artifact
from forecasting.card import Card, SeriesCard
from forecasting.errors import CannotPromote
from forecasting.serving.coverage import find_missing, find_unreadable, refuse_losing
from forecasting.serving.recent_windows import RecentWindows
from forecasting.settings.schema import Config, DatabaseConfig
from forecasting.warehouse.site_directory import SiteDirectory
from forecasting.warehouse.sites import SiteIndex, StoredSite
from tests.warehouse.sources.asking import prepare

SITE = "siteanalytics"


def make_config(database: DatabaseConfig, artifact: Artifact) -> Config:
    return Config(database=database, model_dir=artifact.folder.parent)


def use(config: Config, cards: list[Card], ask: Callable[..., Awaitable[list[SeriesCard]]]) -> list[str]:
    """The metrics that `ask` finds, given the windows of each card."""

    async def run() -> list[str]:
        windows = [RecentWindows(config, card) for card in cards]
        try:
            return [card.metric for card in await ask(*windows)]
        finally:
            for each in windows:
                await each.close()

    return asyncio.run(run())


def without(card: Card, *metrics: str) -> SiteDirectory:
    series = tuple(series for series in card.series if series.metric not in metrics)
    return SiteDirectory.of(replace(card, series=series), SiteIndex(()), unnamed=SITE)


def test_series_that_the_new_version_lacks_are_missing(database: DatabaseConfig, sample_artifact: Artifact) -> None:
    card, config = sample_artifact.card, make_config(database, sample_artifact)
    for lacking in ((), ("unique_visitors",), ("page_visits", "unique_visitors")):
        new = without(card, *lacking)
        assert use(config, [card], lambda windows, new=new: find_missing(windows, new)) == sorted(lacking)


def test_series_that_cannot_be_forecast_now_is_not_missed(database: DatabaseConfig, sample_artifact: Artifact) -> None:
    card, config = sample_artifact.card, make_config(database, sample_artifact)
    more = replace(card, series=(*card.series, replace(card.series[0], metric="clicks")))
    new = without(card, "unique_visitors")
    assert use(config, [more], lambda windows: find_missing(windows, new)) == ["unique_visitors"]


def test_all_are_missing_while_nobody_can_say(sample_artifact: Artifact) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    nobody = DatabaseConfig(embedded=False, host="127.0.0.1", port=port, password="")
    card, config = sample_artifact.card, make_config(nobody, sample_artifact)
    new = without(card, "unique_visitors")
    assert use(config, [card], lambda windows: find_missing(windows, new)) == ["unique_visitors"]


def test_series_whose_days_do_not_suffice_for_the_new_version_are_found(
    database: DatabaseConfig, sample_artifact: Artifact
) -> None:
    """Two days in three have no row: zeros for the served version, unknown for the new one."""
    prepare(database, "delete from daily_metrics where date > '2020-06-01' and extract(day from date)::int % 3 > 0")
    card, config = sample_artifact.card, make_config(database, sample_artifact)
    masking = replace(card, data={**card.data, "missing": "mask"})
    assert use(config, [card, masking], find_unreadable) == ["page_visits", "unique_visitors"]
    assert use(config, [card, card], find_unreadable) == []
    assert use(config, [masking, card], find_unreadable) == []


def test_sites_that_are_gone_are_no_loss(sample_artifact: Artifact) -> None:
    def store(name: str, *, is_gone: bool) -> StoredSite:
        return StoredSite(name, SITE, name, "UTC", None, None, (), is_gone=is_gone)

    card = sample_artifact.card
    other = replace(card.series[0], site="shop")
    card = replace(card, series=(*card.series, other))
    for is_gone, sites in ((False, {SITE, "shop"}), (True, {SITE})):
        index = SiteIndex([store(SITE, is_gone=False), store("shop", is_gone=is_gone)])
        directory = SiteDirectory.of(card, index, unnamed=None)
        assert {series.site for series in directory.list_present()} == sites


def test_loss_is_refused_by_name_and_number(sample_artifact: Artifact) -> None:
    card = sample_artifact.card
    served: dict[str, Any] = {"version": "v2", "served": without(card), "advice": "Train it on them too"}
    refuse_losing([], **served)
    with pytest.raises(CannotPromote) as error:
        refuse_losing(card.series[:1], **served)
    assert str(error.value) == (
        "Version v2 cannot forecast 1 of the 2 series that version v1.10 forecasts: page_visits of siteanalytics. "
        'Train it on them too, or promote it all the same with "force": true.'
    )
    many = [replace(card.series[0], metric=f"metric-{number:02}") for number in range(25)]
    with pytest.raises(CannotPromote, match=r"metric-19 of siteanalytics and 5 more\. Train it"):
        refuse_losing(many, **served)
