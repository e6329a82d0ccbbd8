"""What is stored of a source although the source no longer has it, in sentences."""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forecasting.errors import name_some
from forecasting.invocation import show_command
from forecasting.warehouse.catalog import SourceCatalog
from forecasting.warehouse.queries import Connection, fetch

MAX_NAMES = 5  # that a sentence has


@dataclass(frozen=True)
class KeptDays:
    """Stored days of a site or a metric that the source no longer has."""

    name: str
    num_days: int
    first: dt.date
    last: dt.date


async def find_kept_days(
    own: Connection, catalog: SourceCatalog, *, days_of_sites: Sequence[KeptDays] | None = None
) -> tuple[str, ...]:
    """A sentence about what is kept of sites, of sites that are gone, and of metrics that are, and how to forget it.

    `days_of_sites`: what is kept of sites; None if the last update has recorded it.
    """
    source = catalog.source
    counted = source.counted if source.quiet_is_zero else None
    keys, metrics = [site.key for site in catalog.sites], [metric.metric for metric in catalog.metrics]
    kept: dict[str, list[KeptDays]] = {"days": [], "site": [], "metric": []}
    for row in await fetch(own, "find_kept_days", source.name, counted or "", keys, metrics):
        kept[row["what"]].append(make_kept_days(row))
    if days_of_sites is not None:
        kept["days"] = list(days_of_sites)
    return tuple(_describe_kept(kept, catalog))


def make_kept_days(row: Any) -> KeptDays:  # Any: PostgreSQL's row
    return KeptDays(row["name"], int(row["num_days"]), row["first_day"], row["last_day"])


def _describe_kept(kept: Mapping[str, Sequence[KeptDays]], catalog: SourceCatalog) -> Iterator[str]:
    source, forget = catalog.source, f"To forget them, run: {show_command('sources', '--update', '--whole')}"
    if not catalog.sites:  # nothing is forgotten then: perhaps only a right is missing
        if kept["site"]:
            yield f"{source.name} has no row any more: {describe_days(kept['site'])} are kept as they were read"
        return
    if kept["days"]:
        # Of events, the days before the oldest one are kept even then.
        ending = "" if source.quiet_is_zero else f". {forget}"
        yield f"{source.name} no longer has {describe_days(kept['days'])}, which are kept as they were read{ending}"
    for what in ("site", "metric"):
        if gone := kept[what]:
            nouns = f"the {what} {gone[0].name}" if len(gone) == 1 else f"{len(gone):,} {what}s, {_names(gone)}"
            yield f"{source.name} no longer has {nouns}, whose {_number(gone)} {_span(gone)} are kept. {forget}"


def describe_days(sites: Sequence[KeptDays]) -> str:
    """Such as "200 days of shop (2024-01-01..2024-07-18)"."""
    owners = sites[0].name if len(sites) == 1 else f"{len(sites):,} sites, {_names(sites)}"
    return f"{_number(sites)} of {owners} {_span(sites)}"


def _names(rows: Sequence[KeptDays]) -> str:
    return name_some([row.name for row in rows], at_most=MAX_NAMES)


def _number(rows: Sequence[KeptDays]) -> str:
    num_days = sum(row.num_days for row in rows)
    return "1 day" if num_days == 1 else f"{num_days:,} days"


def _span(rows: Sequence[KeptDays]) -> str:
    first, last = min(row.first for row in rows), max(row.last for row in rows)
    return f"({first})" if first == last else f"({first}..{last})"
