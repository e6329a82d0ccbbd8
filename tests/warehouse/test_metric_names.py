"""What is known of a stored metric by its name and type: what is not known to add up does not."""

import asyncio

import pytest

from forecasting.domain import Kind
from forecasting.settings.schema import DatabaseConfig, DataConfig
from forecasting.warehouse.connection import connected
from forecasting.warehouse.metric_names import infer_stored
from forecasting.warehouse.sources.siteanalytics import DailyMetrics
from tests.warehouse.sources.asking import prepare


@pytest.mark.parametrize(
    ("name", "whole", "expected"),
    [
        ("page_visits", True, (Kind.count, True)),
        ("signups", True, (Kind.count, True)),
        ("visitors", True, (Kind.count, False)),
        ("returning_visitors", True, (Kind.count, False)),
        ("first_time_visitors", True, (Kind.count, True)),
        ("mystery", True, (Kind.count, False)),
        ("position", True, (Kind.other, False)),
        ("bounce_rate", True, (Kind.other, False)),  # whole percent, perhaps: its unit is unknown
        ("avg_time_on_page", False, (Kind.other, False)),
        ("revenue", False, (Kind.other, False)),
    ],
)
def test_kind_and_additivity(name: str, whole: bool, expected: tuple[Kind, bool]) -> None:
    assert infer_stored(name, whole=whole) == expected


def test_columns_of_people_and_positions_have_no_total(database: DatabaseConfig) -> None:
    prepare(database, "alter table daily_metrics add visitors integer, add position integer, add orders bigint")

    async def list_metrics() -> dict[str, tuple[Kind, bool]]:
        async with connected(database) as connection:
            metrics = await DailyMetrics(data=DataConfig()).list_metrics(connection)
        return {metric.metric: (metric.kind, metric.additive) for metric in metrics}

    metrics = asyncio.run(list_metrics())
    assert metrics["visitors"] == metrics["unique_visitors"] == (Kind.count, False)
    assert metrics["position"] == (Kind.other, False)
    assert metrics["orders"] == metrics["page_views"] == (Kind.count, True)
