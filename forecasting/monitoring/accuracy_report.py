"""How the versions have done, for the route and for people: read from our tables and from the cards of the versions."""

import datetime as dt
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forecasting.artifact import read_version_card
from forecasting.card import Card, SeriesCard
from forecasting.domain import SeriesKey
from forecasting.errors import ArtifactError
from forecasting.monitoring.accuracy import Accuracy, Promise, compare_versions, judge_series, judge_versions
from forecasting.settings.schema import BASE_VERSION, Config
from forecasting.warehouse.connection import Connection, connected
from forecasting.warehouse.origin import find_origin, read_site_index
from forecasting.warehouse.outcome_store import OutcomeQuery, read_outcomes
from forecasting.warehouse.schema import translate_missing_schema
from forecasting.warehouse.site_directory import SiteDirectory
from forecasting.warehouse.sites import SiteIndex

logger = logging.getLogger("forecasting")

SHOWN_DAYS = 91  # before today, if nobody says since when
MAX_LINES = 20
Json = dict[str, Any]  # json's own types


@dataclass(frozen=True)
class AccuracyReport:
    since: dt.date
    days_ahead: int  # at most
    versions: Sequence[Accuracy]
    series: Sequence[Accuracy]

    @property
    def note(self) -> str | None:
        if self.series:
            return None
        return (
            f"No day since {self.since} is known of which a forecast was kept. The daily job and the routes keep "
            "forecasts; the daily job fills in what came true."
        )


def choose_first_day(since: dt.date | None, config: Config) -> dt.date:
    return since or config.data.today() - dt.timedelta(days=SHOWN_DAYS)


async def report_accuracy(connection: Connection, config: Config, query: OutcomeQuery) -> AccuracyReport:
    """Of all versions that have kept forecasts."""
    with translate_missing_schema(config.data):
        outcomes = await read_outcomes(connection, query)
        index = await read_site_index(connection, source=(await find_origin(connection, config.data)).source)
    cards = _read_cards(config, {each.version for each in outcomes}, index)
    series = [judge_series(each, cards[each.version].get((each.site, each.metric))) for each in outcomes]
    return AccuracyReport(query.since, query.days_ahead, judge_versions(outcomes, cards), series)


def _read_cards(config: Config, versions: set[str], index: SiteIndex) -> Mapping[str, Mapping[SeriesKey, SeriesCard]]:
    """By the names that the sites have in our tables. Versions that are gone promised nothing that could be read."""
    cards: dict[str, Mapping[SeriesKey, SeriesCard]] = {}
    for version in versions:
        card = _find_card(config.model_dir, version)
        cards[version] = {}
        if card is not None:
            directory = SiteDirectory.of(card, index, unnamed=config.unnamed_site)
            cards[version] = {
                (directory.stored_name_of(each.site), each.metric): each for each in directory.card.series
            }
    return cards


def _find_card(store: Path, version: str) -> Card | None:
    if version == BASE_VERSION:
        return None
    try:
        return read_version_card(store, version)
    except ArtifactError as error:
        logger.info("nothing is known of what version %s promised: %s", version, error)
        return None


def describe_for_routes(report: AccuracyReport, *, limit: int, offset: int) -> Json:
    return {
        "since": report.since.isoformat(),
        "days_ahead": report.days_ahead,
        "versions": [_describe(each) for each in report.versions],
        "num_series": len(report.series),
        "series": [
            {"site": each.site, "metric": each.metric, **_describe(each)}
            for each in report.series[offset : offset + limit]
        ],
        "notes": [report.note] if report.note else [],
    }


def _describe(accuracy: Accuracy) -> Json:
    promised, realised = accuracy.relative_errors
    return {
        "model_version": accuracy.version,
        "num_days": accuracy.num_days,
        "num_weeks": accuracy.num_weeks,
        "promised": _describe_promise(accuracy.promised, promised),
        "realised": {
            **_describe_promise(accuracy.realised, realised),
            "coverage_90": accuracy.coverage_90,
            "pinball": accuracy.pinball,
        },
        "p_value": accuracy.p_value,
        "text": accuracy.verdict,
    }


def _describe_promise(promise: Promise, relative_error: float | None) -> Json:
    return {
        "error": promise.error,
        "naive_error": promise.naive_error,
        "relative_error": relative_error,
        "coverage_80": promise.coverage_80,
    }


async def show_accuracy(config: Config, *, since: dt.date | None = None) -> str:
    """A line for each version, and one for each series."""
    async with connected(config.kept_in) as connection:
        report = await report_accuracy(connection, config, await _make_query(connection, config, since))
    if report.note:
        return report.note
    metrics = config.data.metrics
    series = [each for each in report.series if not metrics or each.metric in metrics]
    lines = [f"version {each.version}, all series: {each.verdict}" for each in report.versions]
    lines += [f"{each.version}, {each.metric} of {each.site}: {each.verdict}" for each in series[:MAX_LINES]]
    if len(series) > MAX_LINES:
        lines.append(f"... and {len(series) - MAX_LINES:,} series more: name some with --site and --metric")
    return "\n".join(lines)


async def show_comparison(config: Config, first: str, second: str, *, since: dt.date | None = None) -> str:
    async with connected(config.kept_in) as connection:
        query = await _make_query(connection, config, since)
        with translate_missing_schema(config.data):
            outcomes = await read_outcomes(connection, query)
    metrics = config.data.metrics
    return compare_versions([each for each in outcomes if not metrics or each.metric in metrics], first, second).verdict


async def _make_query(connection: Connection, config: Config, since: dt.date | None) -> OutcomeQuery:
    with translate_missing_schema(config.data):
        index = await read_site_index(connection, source=(await find_origin(connection, config.data)).source)
    sites = index.find_present_names(config.data.sites)
    return OutcomeQuery(choose_first_day(since, config), config.model.prediction_horizon, sites)
