"""What the name of a metric tells: whether its values are means or people, and whether its days add up. Pure.

A metric that is not known to add up does not: a week's total of positions or of people would be wrong, and look right.
"""

import re

from forecasting.domain import Kind, Unit
from forecasting.settings.schema import MetricConfig


def _list_words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words of English, German, French, Spanish, Italian, Portuguese and Dutch, as analytics tools name their columns
RATES = _list_words(
    "rate ctr bouncerate taux tasa tasso taxa absprungrate ausstiegsrate interaktionsrate klickrate conversionrate"
)
MEANS = _list_words(
    "avg average mean median per ratio share percent percentage pct position rank ranking duration time "
    "seconds minutes score index stickiness speed latency frequency p50 p75 p90 p95 p99 durchschn "
    "durchschnittlich durchschnittliche pro anteil zeit moyenne moyen par durée temps promedio media medio por "
    "posición duración tiempo posizione durata tempo média médio posição duração gemiddelde gemiddeld positie "
    "duur"
)
PEOPLE = _list_words(
    "user users visitor visitors unique uniques uniq people person persons viewer viewers reader readers "
    "audience subscriber subscribers follower followers fan fans reach member members customer customers buyer "
    "buyers purchaser purchasers player players account accounts device devices ips dau wau mau cloners "
    "clients nutzer nutzerinnen besucher utilisateurs utilisateur visiteurs visiteur usuarios usuario "
    "visitantes utenti utente visitatori usuários utilizadores gebruikers bezoekers reichweite portée alcance "
    "copertura bereik"
)
# People who are counted on one day of their lives: they add up
NEW = _list_words("new first gained lost neue nouveaux nuevos nuovi novos nieuwe")
EVENTS = _list_words(
    "view views pageview pageviews load loads visit visits session sessions click clicks impression "
    "impressions hit hits request requests event events order orders sale sales signup signups ups "
    "registration registrations download downloads clone clones play plays purchase purchases conversion "
    "conversions transaction transactions byte bytes bandwidth like likes comment comments shares action "
    "actions search searches post posts booking bookings lead leads call calls message messages email emails "
    "revenue earnings amount cost spend install installs query queries error errors crash crashes ticket "
    "tickets reaction reactions repost reposts reblog reblogs save saves interaction interactions engagements "
    "exit exits entrance entrances bounces watch aufrufe seitenaufrufe sitzungen klicks impressionen besuche "
    "zugriffe ereignisse bestellungen umsatz vue vues clic clics visite visites événements sesiones vistas "
    "impresiones visitas eventos pedidos sessioni visualizzazioni impressioni eventi sessões cliques "
    "visualizações impressões weergaven sessies klikken vertoningen bezoeken gebeurtenissen"
)


def infer_properties(name: str) -> MetricConfig:
    """By the name alone. `kind` is unset where only the values can tell; `additive` is always set."""
    words = _split(name)
    if words & RATES:
        return MetricConfig(kind=Kind.rate, unit=Unit.percent if "%" in name else None, additive=False)
    means = words & MEANS - ({"time"} if "watch" in words else set())  # hours that were watched add up
    if means or any(mark in name for mark in "/%") or any(word.endswith("dauer") for word in words):
        return MetricConfig(kind=Kind.other, additive=False)
    return MetricConfig(additive=bool(words & (NEW if words & PEOPLE else EVENTS)))


def infer_stored(name: str, *, whole: bool) -> tuple[Kind, bool]:
    """The kind of a metric in a database, and whether it adds up: by its name, and by whether its type is whole.

    A rate is not taken for one here: its unit is unknown.
    """
    properties = infer_properties(name)
    if not whole or properties.kind is not None:
        return Kind.other, False
    return Kind.count, bool(properties.additive)


def _split(name: str) -> set[str]:
    """Words in lower case; `pageViews` are two, and a first-time visitor takes no time."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    return set(re.split(r"[\W_]+", re.sub(r"first[\W_]*time", "first", spaced))) - {""}
