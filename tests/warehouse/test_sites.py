"""Sites of Umami and of other sources whose names change: what becomes of their days, forecasts and settings."""

import asyncio
import datetime as dt
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from forecasting.domain import SourceName, to_day
from forecasting.panel import Panel
from forecasting.settings.schema import Config, DatabaseConfig, DataConfig
from forecasting.warehouse.connection import connect, connected
from forecasting.warehouse.forecast_writer import encode_forecasts, write_forecasts
from forecasting.warehouse.panel_loader import read_panel
from forecasting.warehouse.sites import StoredSite, name_sites
from forecasting.warehouse.source_report import check_source
from forecasting.warehouse.sources.source import Site
from tests.warehouse.ingesting import ask_own, bring, days, events_of, stored, views
from tests.warehouse.sources import test_fathom, test_goatcounter, test_kaunta, test_shynet
from tests.warehouse.sources.asking import prepare
from tests.warehouse.sources.test_umami import BLOG, QUIET, SHOP, UMAMI
from tests.warehouse.test_schema import OF_0_1_0

NOW = "2024-06-11 09:00"
SECOND = "dddddddd-0000-4000-8000-000000000000"
BOTH = days("2024-06-01", "2024-06-10"), days("2024-06-01", "2024-06-10", site=SHOP, an_hour=1)
# One of each site, made on the day of its cutoff.
FORECASTS = """
    insert into forecasting.forecasts (site, metric, cutoff, day, version, made_at, quantiles)
    select site, 'page_visits', '2024-06-10', '2024-06-11', 'v1', now(), array_fill(length(site)::real, array[7])
    from forecasting.sites where gone_at is null
    on conflict (site, metric, version, cutoff, day) do update set quantiles = excluded.quantiles;
"""


def rename(key: str, name: str) -> str:
    return f"update website set name = '{name}' where website_id = '{key}'"  # noqa: S608 - ours


def delete(key: str) -> str:
    return f"update website set deleted_at = now() where website_id = '{key}'"  # noqa: S608 - ours


def create(key: str, name: str) -> str:
    return f"insert into website (website_id, name) values ('{key}', '{name}')"  # noqa: S608 - ours


def forecasts(database: DatabaseConfig, table: str = "forecasts") -> dict[str, float]:
    """By site; each is as long as the name that the site had when it was made."""
    rows = ask_own(database, f"select site, quantiles[4] as median from forecasting.{table} order by site")  # noqa: S608
    return {row["site"]: row["median"] for row in rows}


def names(database: DatabaseConfig) -> dict[str, tuple[str, list[str], bool]]:
    """By key: the site's name, its aliases, and whether it is gone."""
    rows = ask_own(database, "select key, site, aliases, gone_at is not null as gone from forecasting.sites")
    return {row["key"]: (row["site"], row["aliases"], row["gone"]) for row in rows}


def read(config: Config, *sites: str) -> Panel:
    async def run() -> Panel:
        connection = await connect(config.database)
        try:
            return await read_panel(
                connection, data=replace(config.data, sites=list(sites)), metrics={}, today=dt.date(2024, 6, 11)
            )
        finally:
            await connection.close()

    return asyncio.run(run())


def test_days_and_forecasts_follow_a_renamed_site(database: DatabaseConfig) -> None:
    config = events_of(database)
    bring(config, NOW, UMAMI, *BOTH)
    prepare(database, FORECASTS)
    updated = bring(config, NOW, rename(BLOG, "Journal"))
    assert (updated.num_rows, updated.notes) == (
        0, ("the site Blog is called Journal in umami now: its days and forecasts are kept under that name",),
    )  # fmt: skip
    assert (len(stored(database)), len(stored(database, site="Journal"))) == (0, 10)
    assert forecasts(database) == forecasts(database, "latest") == {"Journal": 4, "Quiet": 5, "Shop": 4}
    assert names(database)[BLOG] == ("Journal", ["Blog"], False)
    bring(config, NOW, rename(BLOG, "Diary"))
    assert names(database)[BLOG] == ("Diary", ["Blog", "Journal"], False)
    bring(config, NOW, rename(BLOG, "Blog"))
    assert names(database)[BLOG][0] == "Blog"
    assert len(stored(database)) == 10


def test_sites_in_a_ring_take_each_others_names(database: DatabaseConfig) -> None:
    config = events_of(database)
    bring(config, NOW, UMAMI, *BOTH)
    prepare(database, FORECASTS)
    bring(config, NOW, rename(BLOG, "Shop"), rename(SHOP, "Quiet"), rename(QUIET, "Blog"))
    assert {key: name for key, (name, _, _) in names(database).items()} == {BLOG: "Shop", SHOP: "Quiet", QUIET: "Blog"}
    assert forecasts(database) == {"Shop": 4, "Quiet": 4, "Blog": 5}
    assert set(stored(database, site="Shop").values()) == {60.0}
    assert set(stored(database, site="Quiet").values()) == {12.0}


def test_a_second_site_of_a_name_and_its_deletion_leave_the_first_alone(database: DatabaseConfig) -> None:
    config = events_of(database)
    bring(config, NOW, UMAMI, *BOTH)
    before = stored(database)
    assert bring(config, NOW, create(SECOND, "Blog"), views("2024-06-10 10:00+00", 7, site=SECOND)).notes == ()
    assert stored(database) == before
    assert stored(database, site="Blog (dddddddd)") == {"2024-06-10": 7.0}
    assert bring(config, NOW, rename(SHOP, "Blog")).notes == (
        "the site Shop is called Blog (bbbbbbbb) in umami now: its days and forecasts are kept under that name",
    )
    assert bring(config, NOW, delete(SECOND)).notes == (
        "the site Blog (dddddddd) is no longer in umami: its days are kept",
    )
    assert (stored(database), len(stored(database, site="Blog (bbbbbbbb)"))) == (before, 10)


def test_the_deletion_of_the_first_leaves_the_second_alone(database: DatabaseConfig) -> None:
    config = events_of(database)
    bring(config, NOW, UMAMI, create(SECOND, "Blog"), *BOTH, days("2024-06-01", "2024-06-10", site=SECOND, an_hour=2))
    assert {key: names(database)[key][0] for key in (BLOG, SECOND)} == {
        BLOG: "Blog (aaaaaaaa)", SECOND: "Blog (dddddddd)",
    }  # fmt: skip
    before = stored(database, site="Blog (dddddddd)")
    assert len(before) == 10
    bring(config, NOW, delete(BLOG))
    assert stored(database, site="Blog (dddddddd)") == before


def test_forecasts_of_a_deleted_site_are_kept_but_not_the_newest(database: DatabaseConfig) -> None:
    config = events_of(database)
    bring(config, NOW, UMAMI, *BOTH)
    prepare(database, FORECASTS)
    bring(config, NOW, delete(BLOG))
    assert forecasts(database) == {"Blog": 4, "Quiet": 5, "Shop": 4}
    assert forecasts(database, "latest") == {"Quiet": 5, "Shop": 4}
    updated = bring(config, NOW, create(SECOND, "Blog"))
    assert updated.notes == (
        "another site is called Blog now: the forecasts of the one that is gone are kept as Blog (gone)",
    )
    assert forecasts(database) == {"Blog (gone)": 4, "Quiet": 5, "Shop": 4}
    bring(config, NOW, delete(SECOND))
    bring(config, NOW, create("eeeeeeee-0000-4000-8000-000000000000", "Blog"))
    assert names(database)[SECOND] == (f"Blog ({SECOND})", ["Blog"], True)
    assert "Blog" not in forecasts(database)


def test_forecasts_of_a_site_that_was_renamed_while_they_were_made_are_left_out(database: DatabaseConfig) -> None:
    config = events_of(database)
    bring(config, NOW, UMAMI, *BOTH)
    quantiles = np.arange(2 * 3 * 7, dtype=np.float32).reshape(2, 3, 7)
    keys = [("Blog", "page_visits"), ("Shop", "page_visits")]
    encoded = encode_forecasts(keys, np.array([to_day(dt.date(2024, 6, 10))] * 2), quantiles)
    bring(config, NOW, rename(BLOG, "Journal"))

    async def write() -> int:
        async with connected(database, writable=True) as connection:
            now = dt.datetime.now(dt.UTC)
            return await write_forecasts(connection, encoded, version="v1", made_at=now, num_levels=7)

    assert asyncio.run(write()) == 3
    assert set(forecasts(database)) == {"Shop"}


def test_a_site_that_comes_back_is_the_same(database: DatabaseConfig) -> None:
    config = events_of(database)
    bring(config, NOW, UMAMI, *BOTH)
    prepare(database, FORECASTS)
    before = stored(database)
    bring(config, NOW, delete(BLOG))
    updated = bring(config, NOW, f"update website set deleted_at = null where website_id = '{BLOG}'")  # noqa: S608
    assert updated.notes == ("the site Blog is in umami again: its days are read from the beginning",)
    assert stored(database) == before
    assert forecasts(database, "latest") == {"Blog": 4, "Quiet": 5, "Shop": 4}


def test_a_name_that_somebody_else_writes_days_of_is_not_taken(database: DatabaseConfig) -> None:
    config = events_of(database)
    bring(config, NOW, UMAMI, *BOTH)
    prepare(database, "insert into forecasting.daily (site, metric, day, value) values ('Mine', 'm', '2024-06-01', 1)")
    bring(config, NOW, rename(BLOG, "Mine"))
    assert names(database)[BLOG][0] == "Mine (aaaaaaaa)"
    assert stored(database, "m", site="Mine") == {"2024-06-01": 1.0}


def test_names_of_another_sources_sites_are_not_taken(database: DatabaseConfig, tmp_path: Path) -> None:
    bring(events_of(database), NOW, UMAMI, *BOTH)
    file = tmp_path / "traffic.csv"
    file.write_text("site,metric,date,value\nFile,page_visits,2024-06-01,7\n")
    bring(Config(database=database, data=DataConfig(source=SourceName.csv, csv=file)), NOW)
    bring(events_of(database), NOW, rename(BLOG, "File"))
    assert names(database)[BLOG][0] == "File (aaaaaaaa)"
    assert stored(database, site="File") == {"2024-06-01": 7.0}


def test_settings_follow_an_earlier_name(database: DatabaseConfig) -> None:
    """A site's own time zone, which decides about its days, and the sites to read."""
    config = events_of(database, timezones=["Blog=Pacific/Auckland"])
    bring(config, NOW, UMAMI, days("2024-04-10", "2024-06-10"), BOTH[1])
    before = stored(database)
    assert bring(config, NOW, rename(BLOG, "Journal")).num_rows == 0
    assert stored(database, site="Journal") == before
    [zone] = ask_own(database, f"select timezone from forecasting.sites where key = '{BLOG}'")  # noqa: S608 - ours
    assert zone["timezone"] == "Pacific/Auckland"
    panels = [read(config, name) for name in ("Blog", "Journal")]
    assert panels[0].series == panels[1].series
    assert {(series.site, series.site_key) for series in panels[0].series} == {("Journal", BLOG)}


def test_check_says_what_the_sites_are_called_in_our_tables(database: DatabaseConfig) -> None:
    config = events_of(database)
    bring(config, NOW, UMAMI, *BOTH)
    prepare(database, create(SECOND, "Blog"), rename(SHOP, "Store"))
    checked = asyncio.run(check_source(config, now=dt.datetime(2024, 6, 11, 9, tzinfo=dt.UTC)))
    table = checked.split("\n\n")[1].splitlines()[1:]
    assert [line.split("  ")[0].strip() for line in table] == ["Blog", "Blog (dddddddd)", "Quiet", "Store"]
    assert "renamed: Shop is called Store in umami now" in checked.splitlines()


def test_an_update_brings_a_database_of_an_earlier_version_up_to_date(database: DatabaseConfig) -> None:
    """Which kept days of renamed sites, but not their forecasts: nobody can tell any more whose those are."""
    config = events_of(database)
    known = f"""
        insert into forecasting.sites (site, source, key, timezone, read_until)
        values ('Blog', 'umami', '{BLOG}', 'UTC', '2024-06-03');
        insert into forecasting.daily (site, metric, day, value)
        select 'Blog', 'page_visits', day, 60 from generate_series('2024-05-01', '2024-06-02', interval '1 day') as day;
        insert into forecasting.metrics values ('umami', 'page_visits', 'count', true, null, 0);
        insert into forecasting.forecasts (site, metric, cutoff, day, version, made_at, quantiles)
        select site, 'page_visits', '2024-06-02', '2024-06-03', 'v1', now(), array_fill(length(site)::real, array[7])
        from unnest(array['Blog', 'Former name']) as site;
    """  # noqa: S608 - ours
    bring(config, NOW, UMAMI, *BOTH, *OF_0_1_0, known, rename(BLOG, "Former name"))
    assert names(database)[BLOG] == ("Former name", ["Blog"], False)
    assert forecasts(database, "latest") == {"Former name": 4}
    assert forecasts(database) == {"Former name": 4, "Former name (gone)": 11}
    assert min(stored(database, site="Former name")) == "2024-05-01"


def test_no_two_sites_get_the_same_name() -> None:
    taken = [
        StoredSite(name, source, key, "UTC", None, None, (), is_gone)
        for name, source, key, is_gone in (
            ("A", "umami", "1", True), ("A (gone)", "umami", "2", True), ("B", "csv", "B", False),
            ("C", "umami", "3", False), ("D", "umami", "4", False),
        )
    ]  # fmt: skip
    sites = [Site("3", "B"), Site("5", "A"), Site("6", "A"), Site("4", "C"), Site("2", "A (gone)")]
    named = name_sites(sites, taken, source="umami")
    assert [site.name for site in named.sites] == ["B (3)", "A (5)", "A (6)", "C", "A (gone)"]
    assert named.renamed == {"C": "B (3)", "D": "C"}
    assert name_sites([Site("5", "A")], taken[:2], source="umami").renamed == {"A": "A (1)"}


@pytest.mark.parametrize(
    ("source", "tables", "change"),
    [
        ("shynet", (test_shynet.TABLES, test_shynet.SITES), "update core_service set name = name || ' 2'"),
        ("goatcounter", (test_goatcounter.SCHEMA, test_goatcounter.SITES), "update sites set cname = site_id || '.x'"),
        ("fathom", (test_fathom.SCHEMA,), "update sites set name = name || ' 2'"),
        (
            "kaunta",
            (test_kaunta.SCHEMA, test_kaunta.PARTITIONS, test_kaunta.SITES),
            "update website set name = website_id || ' 2'",
        ),
    ],
)
def test_every_source_that_has_names_keeps_its_sites(
    database: DatabaseConfig, source: str, tables: tuple[str, ...], change: str
) -> None:
    config = Config(database=database, data=DataConfig(source=SourceName(source)))
    bring(config, NOW, *tables)
    before = names(database)
    assert len(before) > 1
    updated = bring(config, NOW, change)
    after = names(database)
    assert {key: aliases for key, (_, aliases, _) in after.items()} == {
        key: [name] for key, (name, *_) in before.items()
    }
    assert len(updated.notes) == len(before)
