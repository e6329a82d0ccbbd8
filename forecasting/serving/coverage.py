"""Which series nobody could forecast any more if another version were served."""

from collections.abc import Sequence

from forecasting.card import SeriesCard
from forecasting.errors import CannotPromote, ServingError, WarehouseError, name_some
from forecasting.predictor import Window
from forecasting.serving.recent_windows import RecentWindows
from forecasting.warehouse.site_directory import SiteDirectory


async def find_missing(served: RecentWindows, new: SiteDirectory) -> list[SeriesCard]:
    """The series that can be forecast now and that the new version was not trained on."""
    known = {card.key for card in new.card.series}
    missing = [card for card in served.sites.directory.list_present() if card.key not in known]
    return await _find_readable(served, missing)


async def find_unreadable(served: RecentWindows, new: RecentWindows) -> list[SeriesCard]:
    """The series that can be forecast now, and of which the new version lacks the days that it needs."""
    present = {card.key for card in served.sites.directory.list_present()}
    cards = [card for card in new.sites.directory.card.series if card.key in present]
    windows = await new.read(cards)
    unreadable = {card.key for card, window in zip(cards, windows, strict=True) if not isinstance(window, Window)}
    return await _find_readable(served, [card for card in served.sites.directory.card.series if card.key in unreadable])


async def _find_readable(windows: RecentWindows, cards: Sequence[SeriesCard]) -> list[SeriesCard]:
    """Those with enough days to be forecast; all of them if PostgreSQL does not answer, since nobody knows then."""
    try:
        results = await windows.read(cards)
    except (WarehouseError, ServingError):
        return list(cards)
    return [card for card, window in zip(cards, results, strict=True) if isinstance(window, Window)]


def refuse_losing(cards: Sequence[SeriesCard], *, version: str, served: SiteDirectory, advice: str) -> None:
    """Raises CannotPromote if there are any."""
    if cards:
        num_served = len(served.card.series)
        raise CannotPromote(
            f"Version {version} cannot forecast {len(cards):,} of the {num_served:,} series that version "
            f"{served.card.version} forecasts: {name_some([card.name for card in cards])}. {advice}, or promote it all "
            'the same with "force": true.'
        )
