"""A version's series by the names that their sites have now. Pure: no connection, no query."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from forecasting.card import Card, SeriesCard
from forecasting.errors import UnknownMetric, UnknownSite, name_some
from forecasting.predictor import BY_THE_BASE, usual_bands
from forecasting.warehouse.sites import SiteIndex, StoredSite, distinguish


@dataclass(frozen=True)
class LocatedSite:
    """A site of a version or, without `trained_name`, another site of the source."""

    trained_name: str | None
    name: str  # in requests and answers
    stored: StoredSite | None
    is_gone: bool  # from the source; not as long as nothing is known of the source's sites

    @property
    def aliases(self) -> set[str]:
        """Its earlier names."""
        trained = {self.trained_name} if self.trained_name is not None else set()
        return {*trained, *(self.stored.aliases if self.stored else ())} - {self.name}

    @property
    def stored_name(self) -> str:
        """In our tables."""
        return self.stored.name if self.stored else self.name


def locate_sites(
    series: Sequence[SeriesCard], index: SiteIndex, *, unnamed: str | None
) -> tuple[tuple[SeriesCard, ...], tuple[LocatedSite, ...]]:
    """The series with the present names and keys of their sites, and these sites.

    The only site of a version is also found as the `unnamed` one: where a source does not name its site, the site is
    named after the database or the file, and a copy or a newer export may have another name.
    """
    keys = {card.site: card.site_key for card in series}
    sites = {name: _locate(name, key, index) for name, key in keys.items()}
    if len(sites) == 1 and unnamed is not None:
        sites = {name: _try_unnamed(name, site, index.find_name(unnamed)) for name, site in sites.items()}
    renamed = tuple(_rename_series(card, sites[card.site]) for card in series)
    return renamed, tuple(sites.values())


def _locate(name: str, key: str | None, index: SiteIndex) -> LocatedSite:
    stored = index.find_trained(name, key)
    if stored is not None:
        return LocatedSite(name, stored.name, stored, stored.is_gone)
    is_taken = key is not None and index.find_name(name) is not None
    return LocatedSite(name, distinguish(name, key) if key is not None and is_taken else name, None, bool(index.sites))


def _try_unnamed(name: str, site: LocatedSite, stored: StoredSite | None) -> LocatedSite:
    is_found = site.stored is not None and not site.is_gone
    if is_found or stored is None or stored.is_gone:
        return site
    return LocatedSite(name, name, stored, is_gone=False)


def _rename_series(card: SeriesCard, site: LocatedSite) -> SeriesCard:
    key = site.stored.key if site.stored else card.site_key
    return card if (card.site, card.site_key) == (site.name, key) else replace(card, site=site.name, site_key=key)


@dataclass(frozen=True)
class SiteDirectory:
    """Which series a name of a site and a metric mean: the present name, or else an earlier one."""

    card: Card  # its series have the present names of their sites
    sites: tuple[LocatedSite, ...]  # of the version
    index: SiteIndex  # all sites of the source

    @classmethod
    def of(cls, card: Card, index: SiteIndex, *, unnamed: str | None) -> "SiteDirectory":
        """`card` has the names that the sites had when the version was trained."""
        series, sites = locate_sites(card.series, index, unnamed=unnamed)
        return cls(card if series == card.series else replace(card, series=series), sites, index)

    @property
    def source(self) -> str:
        return str(self.card.data.get("source", "the source"))

    @cached_property
    def timezones(self) -> dict[str, str]:
        """Of all sites that the source has, by name."""
        names = {site.stored.key: site.name for site in self.sites if site.stored}
        return {names.get(site.key, site.name): site.timezone for site in self.index.sites if not site.is_gone}

    @cached_property
    def changes(self) -> list[str]:
        """A sentence about each site that is not what it was when the version was trained."""
        sentences = []
        for site in self.sites:
            if site.is_gone:
                sentences.append(f"The site {site.name} is no longer in {self.source}: it is not forecast.")
            elif site.trained_name not in (None, site.name):
                sentence = f"The site {site.trained_name} is called {site.name} now."
                others = [other for other in self._by_name.get(site.trained_name, []) if not other.is_gone]
                sentences.append(f"{sentence} Another site has its former name." if others else sentence)
        return sentences

    @cached_property
    def problem(self) -> str | None:
        """Why nothing can be forecast."""
        if not self.sites or not all(site.is_gone for site in self.sites):
            return None
        return f"None of the sites of version {self.card.version} is in {self.source} any more. Train a new version."

    def aliases_of(self, name: str) -> list[str]:
        """The other names that mean a site of the version in requests."""
        site = self._trained[name]
        return sorted(alias for alias in site.aliases if self._means(alias) == [site])

    def find_site(self, name: str) -> Mapping[str, SeriesCard]:
        """The series, by metric, of the site that is called so, or was, even if it is gone. Raises UnknownSite."""
        trained = [site for site in self._means(name) if site.trained_name is not None]
        return self.card.find_site(trained[0].name if len(trained) == 1 else self._find_name(name))

    def list_present(self) -> list[SeriesCard]:
        """The series of the version without those of sites that are gone."""
        gone = {site.name for site in self.sites if site.is_gone}
        return [card for card in self.card.series if card.site not in gone]

    def stored_name_of(self, name: str) -> str:
        """In our tables, of a site of the version."""
        site = self._trained.get(name)
        return site.stored_name if site else name

    def arrivals_of(self, name: str) -> tuple[int, ...]:
        """StoredSite.arrivals of a site of the version."""
        site = self._trained.get(name)
        return site.stored.arrivals if site and site.stored else ()

    def find_series(self, *, metric: str, site: str | None) -> SeriesCard:
        """One that the base answers for, if the site came after the version was trained. Raises UnknownSite or
        UnknownMetric, naming those that can be forecast.
        """
        new = None if site is None else self._find_new(site)
        if new is not None:
            return self._suppose(new, metric)
        candidates = self._present or self.sites
        if site is None and len(candidates) == 1:
            site = candidates[0].name
        return self.card.find_series(metric=metric, site=None if site is None else self._find_name(site))

    def _find_new(self, name: str) -> LocatedSite | None:
        """The site of the source that is called so and came after the version was trained."""
        meant = self._means(name)
        return meant[0] if len(meant) == 1 and meant[0].trained_name is None else None

    def _suppose(self, site: LocatedSite, metric: str) -> SeriesCard:
        """A card of a series that the version does not know: like that metric elsewhere. Raises UnknownMetric."""
        alike = next((card for card in self.card.series if card.metric == metric), None)
        if alike is None:
            known = name_some({card.metric for card in self.card.series})
            raise UnknownMetric(
                f"There is no metric {metric!r} in version {self.card.version}. It was trained on: {known}."
            )
        bands = usual_bands(self.card.output_days)
        return SeriesCard(
            site=site.name,
            metric=metric,
            kind=alike.kind,
            additive=alike.additive,
            unit_scale=alike.unit_scale,
            band_scale=bands.scale,
            day_correlation=bands.day_correlation,
            answered_by=BY_THE_BASE,
            site_key=site.stored.key if site.stored else None,
        )

    def _find_name(self, name: str) -> str:
        """The present name of the site of the version that is called so, or was."""
        meant = self._means(name)
        if len(meant) > 1:
            names = name_some([site.name for site in meant])
            raise UnknownSite(f"{len(meant)} sites were once called {name!r}: say which, one of {names}.")
        if not meant:
            return name  # which the card refuses
        [site] = meant
        if site.trained_name is not None and not site.is_gone:
            return site.name
        present = self._present_names
        if site.trained_name is None:
            trained = f", but on: {present}" if present else ""
            raise UnknownSite(
                f"Version {self.card.version} was not trained on the site {name!r}{trained}. "
                "Train a new version to forecast it."
            )
        others = f" Sites that can be forecast: {present}." if present else ""
        raise UnknownSite(f"The site {name!r} is no longer in {self.source}.{others}")

    def _means(self, name: str) -> list[LocatedSite]:
        """The sites that are called so, else those that were; sites that the source has before those that are gone."""
        for candidates in (self._by_name.get(name, []), self._by_alias.get(name, [])):
            present = [site for site in candidates if not site.is_gone]
            if candidates:
                return present or candidates
        return []

    @cached_property
    def _trained(self) -> Mapping[str, LocatedSite]:
        return {site.name: site for site in self.sites}

    @cached_property
    def _present(self) -> tuple[LocatedSite, ...]:
        """Those of the version that are not gone."""
        return tuple(site for site in self.sites if not site.is_gone)

    @cached_property
    def _present_names(self) -> str:
        return name_some([site.name for site in self._present])

    @cached_property
    def _by_name(self) -> Mapping[str, list[LocatedSite]]:
        return _group([(name, site) for site in self._all_sites for name in {site.name, site.stored_name}])

    @cached_property
    def _by_alias(self) -> Mapping[str, list[LocatedSite]]:
        return _group([(alias, site) for site in self._all_sites for alias in site.aliases])

    @cached_property
    def _all_sites(self) -> list[LocatedSite]:
        """Those of the version, then all others that the source has."""
        keys = {site.stored.key for site in self.sites if site.stored}
        others = [site for site in self.index.sites if site.key not in keys and not site.is_gone]
        return [*self.sites, *(LocatedSite(None, site.name, site, is_gone=False) for site in others)]


def _group(pairs: Sequence[tuple[str, LocatedSite]]) -> dict[str, list[LocatedSite]]:
    sites: dict[str, list[LocatedSite]] = {}
    for name, site in pairs:
        sites.setdefault(name, []).append(site)
    return sites
