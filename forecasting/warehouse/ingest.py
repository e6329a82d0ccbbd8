"""Brings `forecasting.daily` up to date with a source: reads new days and late events, and nothing else.

Each chunk of days is one transaction under one lock. An update that ends early therefore leaves whole chunks, and the
next one continues after them. Updates that run at the same time each skip what another has done.
"""

import datetime as dt
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from forecasting.domain import SourceName
from forecasting.errors import (
    CannotConnect,
    ForecastingError,
    MissingTable,
    SchemaNotWritable,
    SettingError,
    WarehouseError,
    WouldLoseDays,
)
from forecasting.invocation import show_command
from forecasting.runtime.terminal import progress
from forecasting.settings.schema import Config, DatabaseConfig, DataConfig
from forecasting.warehouse.catalog import SourceCatalog, local_day, read_catalog, timezone_of
from forecasting.warehouse.catalog_store import note_arrivals, write_catalog
from forecasting.warehouse.changed_blocks import find_changed_blocks
from forecasting.warehouse.changed_history import describe_dropped_days, find_changed_history
from forecasting.warehouse.comparison_plan import Comparison, plan_comparison, write_comparison
from forecasting.warehouse.connection import OwnConnection, connected, translate_errors
from forecasting.warehouse.csv.event_file import read_event_file
from forecasting.warehouse.day_copier import DayCopier
from forecasting.warehouse.event_store import write_file_events
from forecasting.warehouse.ingest_plan import ReadTask, Scope, plan_tasks
from forecasting.warehouse.kept_days import find_kept_days
from forecasting.warehouse.origin import find_origin, has_rows, read_stored_sites
from forecasting.warehouse.queries import Connection, fetch
from forecasting.warehouse.regressor_store import copy_regressors
from forecasting.warehouse.schema import open_own_schema
from forecasting.warehouse.sites import StoredSite
from forecasting.warehouse.verdict_store import VerdictRules, claim_new_sites, judge_again, read_rules

logger = logging.getLogger("forecasting.warehouse")

Advance = Callable[[int, int], object]


@dataclass(frozen=True)
class UpdateResult:
    num_rows: int | None  # new, changed or deleted; None if forecasting.daily has no source
    database: DatabaseConfig  # where forecasting.daily is
    num_days: int = 0  # read from the source
    notes: tuple[str, ...] = ()
    refusal: SchemaNotWritable | None = None  # why it is not in the configured database
    problem: str | None = None  # why new days cannot come from the source as it is
    compare_seconds: float = 0.0  # that it took to look for changes in days that were read earlier
    kept: tuple[str, ...] = ()  # what is stored although the source no longer has it, a sentence each


async def update(
    config: Config,
    *,
    whole: bool = False,
    recent_days: int | None = None,
    compare: bool = True,
    now: dt.datetime | None = None,
    advance: Advance | None = None,
) -> UpdateResult:
    """Reads the complete days since the last update, and the last `data.reread_days` again. `whole` reads every day.

    `compare`: older days that were read before and have changed in the source are read again, too. Daily totals that
    other programs write are always compared, or only the `recent_days` last ones. `advance` is called with the number
    of days read since the last call, and the total. Raises WarehouseError and DataError; chunks read before stay.
    """
    scope = Scope(now or dt.datetime.now(dt.UTC), whole, recent_days, compare)
    async with (
        connected(config.read_from, timeout_seconds=config.data.statement_timeout_seconds) as source_connection,
        open_own_schema(config) as own,
    ):
        await _copy_events(config.data, own.connection)
        regressor_notes = await _copy_regressors(config.data, source_connection, own.connection)
        catalog = await _read_catalog(config.data, source_connection, own.connection)
        if catalog is None:
            return UpdateResult(None, own.database, notes=regressor_notes)
        if not whole:
            await _refuse_lost_metrics(catalog, source_connection, own.connection)
            await _refuse_events(catalog, own.connection)
        ingest = _Ingest(config, catalog, source_connection, own.connection, scope)
        ingest, tasks, notes = await ingest.prepare()
        changes = await ingest.find_changes(tasks)
        tasks = [*changes.tasks, *tasks]
        num_days = sum((task.span.until - task.span.first).days for task in tasks)
        num_rows = await ingest.copy(tasks, advance=lambda days: advance and advance(days, num_days))
        if changes.comparison is not None:
            await write_comparison(own.connection, catalog.source.name, scope, changes.comparison)
        kept = await ingest.find_kept_days()
    notes = (*catalog.notes, *notes, *changes.notes, *regressor_notes)
    problem = _describe_empty(catalog)
    return UpdateResult(num_rows, own.database, num_days, notes, own.refusal, problem, changes.seconds, kept)


def _describe_empty(catalog: SourceCatalog) -> str | None:
    if any(site.last for site in catalog.sites):
        return None
    source = catalog.source
    place = f"no row with a day in {', '.join(source.tables)}" if source.tables else "no row"
    return (
        f"{source.name} has no days: there is {place}. Days that were read earlier are kept. Fill it again, or run: "
        f"{show_command('sources', '--check')}"
    )


async def _copy_regressors(
    data: DataConfig, source_connection: OwnConnection, own_connection: Connection
) -> tuple[str, ...]:
    """Why they cannot be read, if so, which does not keep new days from being read."""
    try:
        await copy_regressors(data, source_connection, own_connection)
    except (CannotConnect, SchemaNotWritable):
        raise
    except ForecastingError as error:
        return (f"forecasts use the regressors that were read before: {error}",)
    return ()


async def update_with_progress(config: Config, *, whole: bool = False) -> UpdateResult:
    """`update`, with a progress bar on a terminal."""
    with progress(f"reading {config.data.source}", None, unit="days") as advance:
        return await update(config, whole=whole, advance=advance)


async def _copy_events(data: DataConfig, own_connection: Connection) -> None:
    """Raises DataError for a file that has an error: the events of an earlier one stay."""
    if data.events is None:
        return
    rows = read_event_file(data.events)
    with translate_errors("writing forecasting.events"):
        async with own_connection.transaction():
            await fetch(own_connection, "lock_forecasting")
            await write_file_events(own_connection, rows)


async def _read_catalog(
    data: DataConfig, source_connection: OwnConnection, own_connection: Connection
) -> SourceCatalog | None:
    """None if there is no source, but somebody fills forecasting.daily."""
    try:
        with translate_errors(f"asking {data.source} for its sites and metrics"):
            return await read_catalog(source_connection, data)
    except (MissingTable, SettingError):
        origin = await find_origin(own_connection, data)
        if not origin.source and data.source is SourceName.siteanalytics and await has_rows(own_connection):
            return None
        raise


async def _refuse_lost_metrics(
    catalog: SourceCatalog, source_connection: OwnConnection, own_connection: Connection
) -> None:
    """Raises WarehouseError for metrics that were read earlier, and that the source has but cannot return any more."""
    source = catalog.source
    with translate_errors(f"asking {source.name} for its metrics"):
        stored = {row["metric"] for row in await fetch(own_connection, "read_metrics", source.name)}
        lost = stored - {metric.metric for metric in catalog.metrics}
        reasons = await source.explain_lost(source_connection, lost) if lost else []
    if reasons:
        command = show_command("sources", "--update", "--whole")
        raise WarehouseError(
            f"Metrics that were read earlier cannot be read any more: {' '.join(reasons)} Or, if their days may be "
            f"deleted, run: {command}"
        )


async def _would_mix(catalog: SourceCatalog, own_connection: Connection) -> bool:
    """Whether daily_metrics, which was read before, has no row any more, so that its events are read."""
    source = catalog.source
    if source.name != SourceName.siteanalytics or not source.quiet_is_zero:
        return False
    with translate_errors("reading forecasting.daily"):
        (row,) = await fetch(own_connection, "has_totals", source.name, source.counted)
    return bool(row["has_totals"])


async def _refuse_events(catalog: SourceCatalog, own_connection: Connection) -> None:
    """Raises WouldLoseDays if the events in page_visits would replace days that were read from daily_metrics."""
    if await _would_mix(catalog, own_connection):
        command = show_command("sources", "--update", "--whole")
        raise WouldLoseDays(
            "daily_metrics has no row any more, and the events in page_visits would replace the days that were read "
            f"from it. Fill daily_metrics again, or, if those days may be replaced, run: {command}"
        )


@dataclass(frozen=True)
class _Changes:
    """What has changed in the source since it was read."""

    tasks: Sequence[ReadTask] = ()  # that read it again
    notes: Sequence[str] = ()
    seconds: float = 0.0  # that it took to find out
    comparison: Comparison | None = None  # to store once these tasks and all others are done
    is_complete: bool = True  # whether all days were compared


@dataclass(frozen=True)
class _Ingest:
    """One update of our own schema from a source."""

    config: Config
    catalog: SourceCatalog
    source_connection: OwnConnection
    own_connection: OwnConnection
    scope: Scope
    before: Sequence[StoredSite] = ()  # the sites as they were stored before this update

    async def prepare(self) -> "tuple[_Ingest, list[ReadTask], Sequence[str]]":
        """Stores the catalog. The update with the sites' names in our tables, what to read, and notes about changed
        sites.
        """
        own, data, source = self.own_connection, self.config.data, self.catalog.source.name
        with translate_errors("updating the schema forecasting"):
            async with own.transaction():
                await fetch(own, "lock_forecasting")
                before = await read_stored_sites(own)
                if self.scope.whole and await _would_mix(self.catalog, own):
                    await fetch(own, "delete_days", [site.name for site in before if site.source == source])
                written = await write_catalog(own, self.catalog, data, whole=self.scope.whole)
                named = replace(self, catalog=written.catalog, before=before)
                await note_arrivals(own, named.catalog, data, now=self.scope.now)
                read_until = {site.key: site.read_until for site in written.stored}
                tasks = plan_tasks(named.catalog, read_until, data, self.scope)
                for task in tasks:
                    if task.from_start:
                        await fetch(own, "rewind_progress", source, list(task.span.keys), task.span.first)
                await claim_new_sites(own, await named.read_rules())
        return named, tasks, written.notes

    async def find_changes(self, tasks: Sequence[ReadTask]) -> "_Changes":
        """Looks for changes in days that were read earlier, and are not read from the start by these tasks."""
        began = time.monotonic()
        events, data = self.catalog.source.quiet_is_zero, self.config.data
        plan = await plan_comparison(self.source_connection, self.own_connection, self.catalog, data, self.scope)
        if self.scope.whole:
            return _Changes(comparison=plan.comparison)
        read_anyway = {key for task in tasks if task.from_start for key in task.span.keys}
        stored = [site for site in self.before if site.key not in read_anyway]
        notes = describe_dropped_days(stored, self.catalog, data) if events and self.scope.compare else []
        if plan.reason is None:
            return _Changes((), notes, time.monotonic() - began, plan.comparison)
        if events and not self.scope.compare:
            return _Changes()
        if plan.comparison is not None and stored and self.scope.compare:
            logger.info("%s: all days are compared: %s", self.catalog.source.name, plan.reason)
        changes = await (self._compare_events(stored) if events else self._compare_totals(stored))
        comparison = plan.comparison if self.scope.compare and changes.is_complete else None
        return replace(changes, notes=[*notes, *changes.notes], seconds=time.monotonic() - began, comparison=comparison)

    async def _compare_totals(self, stored: Sequence[StoredSite]) -> "_Changes":
        own, source = self.own_connection, self.catalog.source.name
        await self._check_own_days()
        by_timezone = await find_changed_blocks(
            self.source_connection, own, self.catalog, stored, data=self.config.data, scope=self.scope
        )
        if gone := [block for changes in by_timezone for block in changes.gone]:
            with translate_errors("updating the schema forecasting"):
                async with own.transaction():
                    await fetch(own, "lock_forecasting")
                    await fetch(own, "keep_blocks", source, *(list(column) for column in zip(*gone, strict=True)))
        return _Changes([task for changes in by_timezone for task in changes.tasks])

    async def _check_own_days(self) -> None:
        """Days in forecasting.daily that others have changed are read again."""
        own = self.own_connection
        with translate_errors("checking forecasting.daily"):
            async with own.transaction():
                await fetch(own, "lock_forecasting")
                (changes,) = await fetch(own, "find_foreign_changes")
                if changes["num_foreign"] != changes["num_checked"]:
                    await fetch(own, "forget_altered_blocks", changes["num_foreign"])

    async def find_kept_days(self) -> tuple[str, ...]:
        with translate_errors("reading forecasting.daily"):
            return await find_kept_days(self.own_connection, self.catalog)

    async def _compare_events(self, stored: Sequence[StoredSite]) -> "_Changes":
        own, data, source = self.own_connection, self.config.data, self.catalog.source.name
        changed, problem = await find_changed_history(self.source_connection, own, self.catalog, stored, data)
        if changed:
            with translate_errors("updating the schema forecasting"):
                await fetch(own, "forget_rules", source, [history.site.key for history in changed])
        notes = [problem] if problem else []
        notes += [f"{history.describe(source)}: they are read again" for history in changed]
        again = tuple(task for history in changed for task in history.plan_tasks())
        return _Changes(again, tuple(notes), is_complete=problem is None)

    async def copy(self, tasks: list[ReadTask], *, advance: Callable[[int], object]) -> int:
        """Copies the days and judges them. How many rows changed."""
        own, source = self.own_connection, self.catalog.source
        copier = DayCopier(source, self.source_connection, own, read_rules=self.read_rules, advance=advance)
        num_rows = sum([await copier.copy(task) for task in tasks])
        with translate_errors("judging the days of forecasting.daily"):
            async with own.transaction():
                await fetch(own, "lock_forecasting")
                await judge_again(own, await self.read_rules())
        return num_rows

    async def read_rules(self) -> VerdictRules:
        """The current rules; another update may change what they depend on at any time."""
        source, data, now = self.catalog.source, self.config.data, self.scope.now
        today = min((local_day(now, timezone_of(site, data)) for site in self.catalog.sites), default=now.date())
        return await read_rules(
            self.own_connection, self.config, source=source.name, starts_amid=source.quiet_is_zero, until=today
        )
