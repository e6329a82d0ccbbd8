"""Days that were read earlier and change in the source: imported, deleted, or counted late."""

import asyncio

import numpy as np
import pytest

from forecasting.invocation import show_command
from forecasting.settings.schema import DatabaseConfig
from forecasting.warehouse.source_report import check_source
from tests.warehouse.ingesting import anew, bring, contents, days, events_of, progress, stored, views
from tests.warehouse.sources.asking import prepare
from tests.warehouse.sources.test_umami import ENGAGEMENT, SHOP, UMAMI
from tests.warehouse.test_ingest import SLOW
from tests.warehouse.test_misdated import DAYS, TABLES, Tables, configure

LATE = "2024-06-11 09:00"  # the 10th is the last complete day


def test_imported_older_days_are_read_and_told(database: DatabaseConfig) -> None:
    config = events_of(database)
    bring(config, LATE, UMAMI, days("2024-05-01", "2024-06-10"), days("2024-05-01", "2024-06-10", site=SHOP))
    result = bring(config, LATE, days("2022-08-29", "2024-04-29"))
    assert result.notes == (
        "umami has other totals on 610 days of Blog (2022-08-29..2024-04-29) than when they were read: they are read "
        "again",
    )
    assert stored(database)["2022-08-29"] == 60
    assert stored(database)["2024-04-30"] == 0  # between two days with events
    assert result.num_rows is not None
    assert result.num_rows > 610 * 5
    assert progress(database) == "2024-06-11"
    assert contents(database) == anew(config, LATE)
    assert bring(config, LATE).notes == ()


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        ("delete from website_event where created_at::date = '2024-05-10'", "1 day of Blog (2024-05-10)"),
        (
            "delete from website_event where event_id in (select event_id from website_event "
            "where created_at::date between '2024-05-10' and '2024-05-14' order by event_id limit 200)",
            "4 days of Blog (2024-05-10..2024-05-14)",
        ),
        (days("2024-05-20", "2024-05-21"), "2 days of Blog (2024-05-20..2024-05-21)"),
        (views("2024-04-02 10:00+00"), "1 day of Blog (2024-04-02)"),
        (views("2024-06-06 10:00+00"), "1 day of Blog (2024-06-06)"),
        # Several spans.
        (views("2024-01-05 10:00+00") + views("2024-03-15 10:00+00"), "2 days of Blog (2024-01-05..2024-03-15)"),
    ],
)
def test_whatever_changes_is_known_as_if_it_were_read_anew(database: DatabaseConfig, change: str, changed: str) -> None:
    config = events_of(database)
    quiet = "delete from website_event where created_at::date in ('2024-05-11', '2024-05-30')"
    bring(config, LATE, UMAMI, days("2024-01-01", "2024-02-20"), days("2024-04-01", "2024-06-10"), quiet)
    result = bring(config, LATE, change)
    assert result.notes == (f"umami has other totals on {changed} than when they were read: they are read again",)
    assert contents(database) == anew(config, LATE)


def test_days_that_the_source_drops_are_kept_and_told(database: DatabaseConfig) -> None:
    config = events_of(database)
    bring(config, LATE, UMAMI, days("2024-03-01", "2024-06-10"))
    before = contents(database)
    result = bring(config, LATE, "delete from website_event where created_at < '2024-04-11 14:00+00'")
    assert (contents(database), result.num_rows) == (before, 0)
    assert result.notes == (
        "umami no longer has the days of Blog from 2024-03-01 to before 2024-04-11: those that were read earlier are "
        "kept",
    )
    assert bring(config, LATE, "delete from website_event where created_at < '2024-04-12'").notes == ()  # as it does
    result = bring(config, LATE, "delete from website_event")
    assert result.notes == ("umami has no day of Blog any more: the days that were read earlier are kept",)
    assert contents(database) == before


def test_check_names_changes_and_writes_nothing(database: DatabaseConfig) -> None:
    config = events_of(database)
    bring(config, LATE, UMAMI, days("2024-05-01", "2024-06-10"))
    before = contents(database)
    assert "warning: umami has other" not in asyncio.run(check_source(config))
    prepare(database, days("2024-04-01", "2024-04-30"))
    assert (
        "warning: umami has other totals on 30 days of Blog (2024-04-01..2024-04-30) than when they were read. "
        f"Run: {show_command('sources', '--update')}"
    ) in asyncio.run(check_source(config)).splitlines()
    assert contents(database) == before


def test_an_update_of_umami_that_defines_bounces_anew_has_all_days_read_again(database: DatabaseConfig) -> None:
    config = events_of(database)
    click = "insert into website_event (website_id, session_id, visit_id, created_at, event_type) select website_id, "
    click += "session_id, visit_id, created_at, 2 from website_event"
    bring(config, LATE, UMAMI, days("2024-05-01", "2024-06-10"), click)
    assert set(stored(database, "bounce_rate").values()) == {1.0}
    result = bring(config, LATE, ENGAGEMENT)
    assert result.notes == ("umami measures bounce_rate in another way since it was updated: all days are read again",)
    assert set(stored(database, "bounce_rate").values()) == {0.0}
    assert contents(database) == anew(config, LATE)
    assert bring(config, LATE).notes == ()


def test_days_are_compared_only_on_request(database: DatabaseConfig) -> None:
    config = events_of(database)
    bring(config, LATE, UMAMI, days("2024-05-01", "2024-06-10"))
    before = contents(database)
    result = bring(config, LATE, days("2024-04-01", "2024-04-30"), compare=False)
    assert (result.notes, contents(database)) == ((), before)
    assert bring(config, LATE).notes


def test_counting_that_takes_too_long_is_told_and_stops_nothing(database: DatabaseConfig) -> None:
    config = events_of(database, statement_timeout_seconds=1.0)
    bring(config, LATE, UMAMI, days("2024-03-01", "2024-06-10", an_hour=1, hours=(8, 9)))
    result = bring(config, "2024-06-12 09:00", views("2024-06-11 10:00+00"), SLOW.format(seconds=0.05))
    assert result.notes == (
        "it is not known whether days that were read earlier have changed since. umami did not count the days "
        "2024-03-01..2024-06-07 within data.statement_timeout_seconds. Raise the timeout, or read every day again with "
        "--whole",
    )
    assert stored(database)["2024-06-11"] == 1


@pytest.mark.parametrize(
    "tables",
    [row for row in TABLES if row.schema != TABLES[0].schema],
    ids=lambda tables: f"{tables.source}",
)
def test_each_source_counts_its_days_as_it_reads_them(database: DatabaseConfig, tables: Tables) -> None:
    config = configure(database, tables)
    now = "2024-05-11 09:00"
    bring(config, now, tables.schema, f"{tables.insert} from (select day as moment from {DAYS}) as usual")  # noqa: S608
    before = bring(config, now).notes
    older = "generate_series(timestamp '2024-03-01 12:00', '2024-03-20 12:00', interval '1 day') as day"
    result = bring(config, now, f"{tables.insert} from (select day as moment from {older}) as older")  # noqa: S608
    name = tables.name or database.name
    assert set(result.notes) - set(before) == {
        f"{tables.source} has other totals on 20 days of {name} (2024-03-01..2024-03-20) than when they were read: "
        "they are read again"
    }
    assert contents(database) == anew(config, now)


@pytest.mark.parametrize("seed", range(6))
def test_any_change_is_known_as_if_it_were_read_anew(database: DatabaseConfig, seed: int) -> None:
    """Days are counted back from the last one; none of the oldest is deleted: sources drop those."""
    random = np.random.default_rng(seed)
    config = events_of(database)
    back = "(date '2024-06-10' - created_at::date)"
    quiet, removed = random.integers(0, 121, 30), random.integers(0, 100, 1 + seed)
    added = "".join(
        views(f"2024-06-10 10:00+00'::timestamptz - interval '{day} days", 2) for day in random.integers(0, 150, 2)
    )
    bring(config, LATE, UMAMI, days("2024-02-12", "2024-06-10"), drop_days(back, quiet))
    bring(config, LATE, drop_days(back, removed), added)
    assert contents(database) == anew(config, LATE)


def drop_days(back: str, numbers: np.ndarray) -> str:
    return f"delete from website_event where {back} in ({', '.join(map(str, numbers))});"  # noqa: S608 - ours
