"""Events in forecasting.events: by hand, from a file and from Umami, and what depends on them."""

import asyncio
import datetime as dt
from dataclasses import replace
from pathlib import Path

import asyncpg
import numpy as np
import pytest

from forecasting.domain import to_day
from forecasting.errors import DataError
from forecasting.known_days.events import Event
from forecasting.settings.schema import Config, DatabaseConfig
from forecasting.warehouse.connection import connect
from forecasting.warehouse.event_store import read_known_events
from forecasting.warehouse.panel_loader import read_panel, read_panels
from forecasting.warehouse.queries import load_query
from forecasting.warehouse.schema import list_migrations
from tests.warehouse.ingesting import ask_own, bring, days, events_of, judged, make_schema, views
from tests.warehouse.sources.asking import prepare
from tests.warehouse.sources.test_umami import ANNOTATIONS, BLOG, UMAMI

NOW = "2024-06-11 09:00"
NOTE = f"""
    insert into annotation (website_id, date, all_day, note) values ('{BLOG}', '2024-06-04 00:00Z', true, 'Newsletter');
"""  # noqa: S608 - ours
IDS = "select id from forecasting.events order by id"
FILE = "site,first_day,last_day,name,size,note\nBlog,2024-06-05,2024-06-06,Sale,2,planned\n,2024-07-01,,Party,,\n"


def on(name: str, first: str, last: str = "", *, site: str | None = None, size: float | None = None) -> Event:
    day, end = (to_day(dt.date.fromisoformat(text)) for text in (first, last or first))
    return Event(name, day, end, site, size)


def known(config: Config) -> list[Event]:
    async def run() -> list[Event]:
        connection = await connect(config.database)
        try:
            return list((await read_known_events(connection, "umami")).events)
        finally:
            await connection.close()

    return asyncio.run(run())


def revision(config: Config) -> int:
    return int(ask_own(config.database, "select number from forecasting.revision")[0]["number"])


@pytest.fixture
def config(database: DatabaseConfig, tmp_path: Path) -> Config:
    file = tmp_path / "events.csv"
    file.write_text(FILE)
    config = events_of(database, events=file)
    bring(config, NOW, UMAMI, ANNOTATIONS, NOTE, days("2024-04-20", "2024-06-10"))
    return config


def test_events_of_all_origins_are_read_and_an_update_without_news_changes_nothing(config: Config) -> None:
    by_hand = "insert into forecasting.events (site, first_day, name, size) values ('Blog', '2024-08-01', 'Launch', 3)"
    prepare(config.database, by_hand)
    note, party = on("Newsletter", "2024-06-04", site="Blog"), on("Party", "2024-07-01")
    sale = on("Sale", "2024-06-05", "2024-06-06", site="Blog", size=2.0)
    launch = on("Launch", "2024-08-01", site="Blog", size=3.0)
    assert known(config) == [note, sale, party, launch]
    before, ids = revision(config), ask_own(config.database, IDS)
    bring(config, "2024-06-11 10:00")
    assert (revision(config), ask_own(config.database, IDS)) == (before, ids)

    rename = "update website set name = 'Journal' where name = 'Blog'; delete from annotation"
    bring(replace(config, data=replace(config.data, events=None)), "2024-06-11 11:00", rename)
    renamed = [replace(event, site="Journal") for event in (sale, launch)]
    assert known(config) == [renamed[0], party, renamed[1]]  # under the site's present name
    assert revision(config) > before
    assert config.data.events
    config.data.events.write_text("first_day,name\n2024-09-01,Fair\n")
    bring(config, "2024-06-11 12:00")
    assert known(config) == [renamed[1], on("Fair", "2024-09-01")]
    config.data.events.write_text("first_day,name\ntomorrow,Fair\n")
    with pytest.raises(DataError, match=r"events\.csv, line 2: first_day is 'tomorrow', which is no day"):
        bring(config, "2024-06-11 13:00")
    assert known(config) == [renamed[1], on("Fair", "2024-09-01")]  # as before


def test_a_crowd_on_a_day_with_an_event_is_no_bot(config: Config) -> None:
    crowds = views("2024-06-06 12:00+00", 600, people=1), views("2024-06-08 12:00+00", 600, people=1)
    bring(config, "2024-06-11 10:00", *crowds)
    assert judged(config.database) == {"2024-04-20": "partial", "2024-06-08": "bot"}


def test_every_change_of_events_is_a_revision(database: DatabaseConfig) -> None:
    make_schema(database)
    config, numbers = events_of(database), []
    for statement in (
        "insert into forecasting.events (first_day, name) values ('2024-06-01', 'a')",
        "update forecasting.events set size = 2",
        "update forecasting.events set size = 3 where name = 'b'",
        "delete from forecasting.events",
        "truncate forecasting.events",
    ):
        prepare(database, statement)
        numbers.append(revision(config))
    assert numbers == [1, 2, 2, 3, 4]
    for row in ("('2024-06-02', '2024-06-01', 'a', 1)", "('2024-06-02', null, '', 1)", "('2024-06-02', null, 'a', 0)"):
        with pytest.raises(asyncpg.CheckViolationError):
            prepare(database, f"insert into forecasting.events (first_day, last_day, name, size) values {row}")  # noqa: S608


def test_notes_of_an_earlier_schema_remain(database: DatabaseConfig) -> None:
    prepare(
        database,
        *(load_query(name) for name in list_migrations()[:7]),
        "insert into forecasting.events values ('umami', 'Blog', null, '2024-06-04', 'Newsletter', false)",
        "insert into forecasting.events values ('umami', null, 'visits', '2024-06-05', 'other visits', true)",
    )
    make_schema(database)
    assert known(events_of(database)) == [on("Newsletter", "2024-06-04", site="Blog")]


def test_days_that_are_read_once_make_the_same_panels_as_days_read_apart(config: Config) -> None:
    """Of a site with a gap, one that ended long ago, and one that is too young for the shorter panel."""
    prepare(
        config.database,
        "insert into forecasting.sites (site, source, key, timezone) values ('Old', 'umami', 'o', 'UTC'), "
        "('New', 'umami', 'n', 'UTC')",
        "insert into forecasting.daily (site, metric, day, value) select 'Old', metric, day, 0.5 from "
        "unnest(array['page_visits', 'bounce_rate']) as metric, "
        "generate_series(date '2023-01-01', '2023-03-31', '1 day') as day where day <> '2023-02-02'",
        "insert into forecasting.daily (site, metric, day, value, verdict) select 'New', 'page_visits', day, "
        "case when extract(day from day) = 20 then 'infinity'::float8 else 7 end, "
        "case when extract(day from day) = 3 then 'outage' else 'observed' end "
        "from generate_series(date '2024-04-30', '2024-06-09', '1 day') as day where day <> '2024-05-12'",
    )
    options = {"data": config.data, "metrics": config.metrics, "today": dt.date(2024, 6, 11)}

    async def run() -> None:
        connection = await connect(config.database)
        try:
            together = await read_panels(connection, [45, None, 40], **options)
            apart = [await read_panel(connection, num_days=num_days, **options) for num_days in (45, None, 40)]
        finally:
            await connection.close()
        assert [panel.num_days for panel in together] == [45, 527, 40]
        for one, other in zip(together, apart, strict=True):
            assert (one.series, one.first_day, one.notes) == (other.series, other.first_day, other.notes)
            np.testing.assert_array_equal(one.values, other.values)
            np.testing.assert_array_equal(one.verdicts, other.verdicts)

    asyncio.run(run())
