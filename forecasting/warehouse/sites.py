"""Which sites there are: what our own schema knows of them, and how a source's sites are called in our tables. Pure.

A site is its source's own key. Its name is a label: it changes with the name in the source, and earlier names remain as
aliases. A site that is gone from its source keeps its row, so that its forecasts are not taken for those of another.
"""

import datetime as dt
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from forecasting.warehouse.sources.source import Site

PREFIX_LENGTH = 8  # characters of a key that tell apart sites of the same name


@dataclass(frozen=True)
class StoredSite:
    """A row of forecasting.sites."""

    name: str  # in all our tables, where no two sites have the same
    source: str
    key: str  # in the source
    timezone: str  # of its days
    began: dt.date | None
    read_until: dt.date | None = field(compare=False)  # earlier days have been read
    aliases: tuple[str, ...]  # earlier names, the latest last
    is_gone: bool  # from the source
    first_day: dt.date | None = field(default=None, compare=False)  # the oldest that the source had when last asked
    arrivals: tuple[int, ...] = ()  # how old, in days, the newest day was when newer ones came; the latest first

    def is_called(self, name: str) -> bool:
        """Whether this is what a site that the source calls `name` may be called in our tables."""
        return self.name in (name, distinguish(name, self.key[:PREFIX_LENGTH]), distinguish(name, self.key))


@dataclass(frozen=True)
class NamedSites:
    sites: Sequence[Site]  # of the source, by their names in our tables
    renamed: Mapping[str, str]  # stored sites that get another name for it


def name_sites(
    sites: Sequence[Site], stored: Sequence[StoredSite], *, source: str, taken: Collection[str] = ()
) -> NamedSites:
    """A site keeps its name as long as the source does not rename it, whatever happens to other sites.

    Sites that get the same name are told apart by their keys. A site that is renamed does not get the name of a site of
    another source, nor one of those `taken`. A site that is gone gives up its name for one that is not.
    """
    rows = {row.key: row for row in stored if row.source == source}
    names = {
        site.key: rows[site.key].name for site in sites if site.key in rows and rows[site.key].is_called(site.name)
    }
    unnamed = [site for site in sites if site.key not in names]
    num_wanted = Counter(site.name for site in unnamed)
    prefixes = Counter((site.name, site.key[:PREFIX_LENGTH]) for site in sites)
    kept = set(names.values())
    of_others = {*taken, *(row.name for row in stored if row.source != source and not row.is_gone)}
    for site in unnamed:
        is_taken = site.name in kept or (site.key in rows and site.name in of_others)
        prefix = site.key[:PREFIX_LENGTH]
        suffix = prefix if prefixes[site.name, prefix] == 1 else site.key
        is_free = num_wanted[site.name] == 1 and not is_taken
        names[site.key] = site.name if is_free else distinguish(site.name, suffix)
    renamed = {row.name: names[key] for key, row in rows.items() if names.get(key, row.name) != row.name}
    return NamedSites(
        [_apply_name(site, names[site.key], rows.get(site.key)) for site in sites],
        renamed | _move_aside(stored, names, source=source),
    )


def _apply_name(site: Site, name: str, row: StoredSite | None) -> Site:
    aliases = dict.fromkeys((*row.aliases, row.name)) if row else {}
    return replace(site, name=name, aliases=tuple(alias for alias in aliases if alias != name))


def _move_aside(stored: Sequence[StoredSite], names: Mapping[str, str], *, source: str) -> dict[str, str]:
    """Other names for sites that are gone, or are about to be, where a site of the source has theirs."""
    wanted = set(names.values())
    used = wanted | {row.name for row in stored}
    moved = {}
    for row in stored:
        is_present = row.key in names if row.source == source else not row.is_gone
        if row.name in wanted and not is_present:
            name = distinguish(row.name, "gone")
            moved[row.name] = distinguish(row.name, row.key) if name in used else name
            used.add(name)
    return moved


def distinguish(name: str, suffix: str) -> str:
    return f"{name} ({suffix})"


class SiteIndex:
    """The stored sites of a source, found by key, name or alias."""

    def __init__(self, sites: Sequence[StoredSite]) -> None:
        self.sites = tuple(sites)

    def find_key(self, key: str) -> StoredSite | None:
        return self._by_key.get(key)

    def find_name(self, name: str) -> StoredSite | None:
        return self._by_name.get(name)

    def find_alias(self, alias: str) -> StoredSite | None:
        """The only site that was once called so."""
        sites = self._by_alias.get(alias, [])
        return sites[0] if len(sites) == 1 else None

    def find_present_names(self, names: Sequence[str]) -> list[str]:
        """Of sites given by a name or an alias; a name that means no site stays."""
        sites = [(name, self.find_name(name) or self.find_alias(name)) for name in names]
        return list(dict.fromkeys(site.name if site else name for name, site in sites))

    def find_trained(self, name: str, key: str | None) -> StoredSite | None:
        """The site that a version knows by this name, and by its key unless the version is older than keys.

        An older version was trained before any alias was noted: a site that was called so comes before a site that has
        taken the name since.
        """
        return self.find_key(key) if key is not None else self.find_alias(name) or self.find_name(name)

    @cached_property
    def _by_key(self) -> dict[str, StoredSite]:
        return {site.key: site for site in self.sites}

    @cached_property
    def _by_name(self) -> dict[str, StoredSite]:
        return {site.name: site for site in self.sites}

    @cached_property
    def _by_alias(self) -> dict[str, list[StoredSite]]:
        sites: dict[str, list[StoredSite]] = {}
        for site in self.sites:
            for alias in site.aliases:
                sites.setdefault(alias, []).append(site)
        return sites
