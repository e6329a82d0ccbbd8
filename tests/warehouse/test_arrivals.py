"""How old the newest day became before newer ones came: noted by every update, for each site."""

from forecasting.settings.schema import Config, DatabaseConfig, DataConfig
from tests.warehouse.ingesting import ask_own, bring, days, events_of
from tests.warehouse.sources.asking import prepare
from tests.warehouse.sources.test_umami import UMAMI

LOAD = """
    insert into daily_metrics (date, page_visits)
    select day, 100 from generate_series(timestamp '{first}', timestamp '{last}', interval '1 day') as day;
"""


def read_arrivals(database: DatabaseConfig) -> list[tuple[str, list[int]]]:
    """Of each site with days, its newest complete day, and the arrivals."""
    rows = ask_own(database, "select last_day, arrivals from forecasting.sites where last_day is not null")
    return [(str(row["last_day"]), row["arrivals"]) for row in rows]


def test_source_that_is_loaded_once_a_week_is_seven_days_late_by_then(database: DatabaseConfig) -> None:
    prepare(database, "truncate daily_metrics")
    config = Config(database=database, data=DataConfig(metrics=["page_visits"]))
    bring(config, "2026-09-07 06:00", LOAD.format(first="2026-07-01", last="2026-09-06"))
    assert read_arrivals(database) == [("2026-09-06", [])]
    for now in ("2026-09-09", "2026-09-13"):
        bring(config, now)
    bring(config, "2026-09-14 06:00", LOAD.format(first="2026-09-07", last="2026-09-13"))
    bring(config, "2026-09-22 06:00", LOAD.format(first="2026-09-14", last="2026-09-20"))  # a day late
    assert read_arrivals(database) == [("2026-09-20", [8, 7])]
    bring(config, "2026-09-23", "delete from daily_metrics where date > '2026-09-15'")
    bring(config, "2026-09-24", LOAD.format(first="2026-09-16", last="2026-09-20"))
    assert read_arrivals(database) == [("2026-09-20", [8, 7])]


def test_events_arrive_every_day_and_twelve_arrivals_are_kept(database: DatabaseConfig) -> None:
    config = events_of(database)
    bring(config, "2024-05-02 09:00", UMAMI, days("2024-04-01", "2024-05-01"))
    for day in range(2, 15):
        bring(config, f"2024-05-{day + 1:02} 09:00", days(f"2024-05-{day:02}", f"2024-05-{day:02}", an_hour=1))
    assert read_arrivals(database) == [("2024-05-14", [1] * 12)]
