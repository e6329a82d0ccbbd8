"""Reads the latest windows of a version's series from `forecasting.daily`."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from forecasting.card import Card, SeriesCard
from forecasting.domain import SeriesKey
from forecasting.errors import DataError, MissingTable, UnknownSite
from forecasting.latest_windows import SPARE_DAYS
from forecasting.predictor import Window
from forecasting.serving.database_client import DatabaseClient
from forecasting.serving.source_updates import SourceUpdates
from forecasting.settings.schema import Config
from forecasting.warehouse.connection import Connection, translate_errors
from forecasting.warehouse.daily import read_last_days
from forecasting.warehouse.event_store import read_known_events
from forecasting.warehouse.inventory import explain_missing
from forecasting.warehouse.origin import read_site_index, read_state
from forecasting.warehouse.pages import Revision
from forecasting.warehouse.regressor_store import read_regressors_of
from forecasting.warehouse.schema import translate_missing_schema
from forecasting.warehouse.sites import SiteIndex
from forecasting.warehouse.windows import cut_windows


@dataclass(frozen=True)
class Snapshot:
    """Windows, or why there is none, and the state of the database that they were read from."""

    windows: list[Window | DataError]
    revision: Revision

    @property
    def is_unknown(self) -> bool:
        """Whether the database has none of the sites."""
        return all(isinstance(window, UnknownSite) for window in self.windows)


class WindowReader:
    """Reads days as the version was trained on them: in its units, its time zone, and with its treatment of gaps."""

    def __init__(self, client: DatabaseClient, config: Config, card: Card, updates: SourceUpdates) -> None:
        self._client = client
        self._config = config
        self._card = card
        self._updates = updates

    async def read(self, cards: Sequence[SeriesCard]) -> Snapshot:
        """The windows up to each series' own last known day.

        Waits for an update if none has succeeded yet and there is no table, or no such site.
        """
        with suppress(MissingTable):
            snapshot = await self._read_by_name(cards)
            if self._updates.has_succeeded or not any(isinstance(window, UnknownSite) for window in snapshot.windows):
                return snapshot
        await self._updates.wait_for_first()
        return await self._read_by_name(cards)

    async def _read_by_name(self, cards: Sequence[SeriesCard]) -> Snapshot:
        """A version's only site is also found as the one that its source does not name: a copy of a database without a
        column `site`, or a newer export, may have another name.
        """
        snapshot = await self._client.run(partial(self._read, cards=cards))
        unnamed = self._config.unnamed_site if len(self._card.by_site) == 1 else None
        if unnamed is None or not snapshot.is_unknown:
            return snapshot
        other = await self._client.run(partial(self._read, cards=cards, site=unnamed))
        return snapshot if other.is_unknown else other

    async def _read(self, connection: Connection, cards: Sequence[SeriesCard], site: str | None = None) -> Snapshot:
        """With `site` in place of the sites that the cards name."""
        data = self._config.data
        with translate_errors("reading forecasting.daily"), translate_missing_schema(data):
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                origin, revision = await read_state(connection, data)
                keys = await self._find_keys(connection, cards, origin.source, site)
                page = await read_last_days(
                    connection,
                    keys,
                    today=origin.today(data),
                    num_days=self._card.context_length + SPARE_DAYS,
                    masked=self._config.verdicts.masked,
                )
                events = await read_known_events(connection, origin.source)
                regressors = await read_regressors_of(connection, data, cards, sites=[site for site, _ in keys])
                missing = [key for key, count in zip(keys, page.counts, strict=True) if not count]
                reasons = iter(await explain_missing(connection, missing, source=origin.source) if missing else ())
        windows = cut_windows(
            page,
            cards,
            context_length=self._card.context_length,
            missing=data.missing,
            events=[events.of(site) for site, _ in keys],
            regressors=regressors,
        )
        return Snapshot(
            [window if count else next(reasons) for window, count in zip(windows, page.counts, strict=True)], revision
        )

    async def _find_keys(
        self, connection: Connection, cards: Sequence[SeriesCard], source: str, site: str | None
    ) -> list[SeriesKey]:
        """Of each card in our tables: its site may have been renamed since the card got its name."""
        if site is not None:
            return [(site, card.metric) for card in cards]
        sites = {(card.site, card.site_key) for card in cards}
        index = await read_site_index(connection, source=source, series=sites)
        names = {(name, key): _find_name(index, name, key) for name, key in sites}
        return [(names[card.site, card.site_key], card.metric) for card in cards]


def _find_name(index: SiteIndex, name: str, key: str | None) -> str:
    stored = index.find_trained(name, key)
    return stored.name if stored else name
