"""The words of headers that decide what a column is, in the languages of the tools that write them."""

# Titles of the column of days, in lower case
DAY_TITLES = frozenset(
    (
        "date", "day", "ds", "_date", "dates", "datetime", "date_time", "timestamp", "time", "period", "label",
        "day index", "created_at", "date of visit", "report_date", "event_date", "visit_date", "dt",
        "datum", "tag", "tagesindex", "zeit", "zeitpunkt", "zeitraum", "jour", "index de jours", "index des jours",
        "fecha", "día", "dia", "índice de días", "giorno", "data", "indice giorno", "índice de dias", "dag", "dato",
        "tarih", "gün", "дата", "день", "日付", "日期", "날짜", "päivämäärä", "dátum", "dzień",
    )
)  # fmt: skip
# Titles of the column that counts days from the first
NTH_DAY_TITLES = frozenset(
    (
        "nth day", "n-ter tag", "tag n", "n. tag", "tag-nr.", "jour n", "nième jour", "día n", "n.º día", "dia n",
        "giorno n", "n-esimo giorno", "nº dia", "dag n", "n-de dag", "nde dag", "n. nap", "gün n", "第 n 天", "n 日目",
    )
)  # fmt: skip
OTHER_NTH_TITLES = frozenset(f"nth {unit}" for unit in ("hour", "minute", "week", "month", "year", "quarter"))
SITE_TITLES = ("series", "site", "unique_id", "website")
TOTALS = frozenset(
    (
        "total", "totals", "grand total", "sum", "gesamt", "gesamtsumme", "insgesamt", "summe", "total général",
        "totale", "totale complessivo", "totaal", "suma", "total general", "total geral",
        "итого", "合計", "总计", "합계",
    )
)  # fmt: skip

# Titles of Google's exports in English, and in other languages
TRANSLATIONS = {
    "de": {
        "aufrufe": "views", "seitenaufrufe": "pageviews", "aktive nutzer": "active users", "nutzer": "users",
        "neue nutzer": "new users", "gesamtzahl der nutzer": "total users", "nutzer insgesamt": "total users",
        "wiederkehrende nutzer": "returning users", "sitzungen": "sessions",
        "sitzungen mit interaktionen": "engaged sessions",
        "absprungrate": "bounce rate", "interaktionsrate": "engagement rate", "ereignisanzahl": "event count",
        "durchschnittliche sitzungsdauer": "average session duration", "klicks": "clicks",
        "durchschnittl. sitzungsdauer": "avg. session duration", "impressionen": "impressions", "position": "position",
        "durchschnittliche interaktionsdauer": "average engagement time", "gesamtumsatz": "total revenue",
        "seiten/sitzung": "pages / session", "tagesindex": "day index", "datum": "date", "tag": "day",
        "durchschnittliche position": "position", "30 tage": "30 days", "7 tage": "7 days", "1 tag": "1 day",
    },
    "fr": {
        "vues": "views", "pages vues": "pageviews", "utilisateurs actifs": "active users", "utilisateurs": "users",
        "nouveaux utilisateurs": "new users", "total d'utilisateurs": "total users",
        "nombre total d'utilisateurs": "total users", "utilisateurs connus": "returning users", "sessions": "sessions",
        "sessions avec engagement": "engaged sessions", "taux de rebond": "bounce rate",
        "taux d'engagement": "engagement rate", "nombre d'événements": "event count",
        "durée moyenne des sessions": "average session duration", "durée moy. des sessions": "avg. session duration",
        "clics": "clicks", "impressions": "impressions", "position": "position", "revenu total": "total revenue",
        "durée d'engagement moyenne": "average engagement time", "pages/session": "pages / session", "date": "date",
        "jour": "day", "30 jours": "30 days", "7 jours": "7 days", "1 jour": "1 day", "index de jours": "day index",
    },
    "es": {
        "vistas": "views", "visualizaciones": "views", "número de visitas a páginas": "pageviews",
        "usuarios activos": "active users", "usuarios": "users", "nuevos usuarios": "new users",
        "usuarios nuevos": "new users", "usuarios totales": "total users", "total de usuarios": "total users",
        "usuarios recurrentes": "returning users", "sesiones": "sessions",
        "sesiones con interacción": "engaged sessions", "porcentaje de rebote": "bounce rate",
        "porcentaje de interacciones": "engagement rate", "tasa de rebote": "bounce rate",
        "número de eventos": "event count", "recuento de eventos": "event count",
        "duración media de la sesión": "average session duration", "clics": "clicks", "impresiones": "impressions",
        "posición": "position", "ingresos totales": "total revenue", "fecha": "date", "día": "day",
        "tiempo de interacción medio": "average engagement time", "páginas/sesión": "pages / session",
        "30 días": "30 days", "7 días": "7 days", "1 día": "1 day", "índice de días": "day index",
    },
    "it": {
        "visualizzazioni": "views", "visualizzazioni di pagina": "pageviews", "utenti attivi": "active users",
        "utenti": "users", "nuovi utenti": "new users", "utenti totali": "total users",
        "utenti di ritorno": "returning users", "sessioni": "sessions",
        "sessioni con coinvolgimento": "engaged sessions",
        "frequenza di rimbalzo": "bounce rate", "tasso di coinvolgimento": "engagement rate",
        "conteggio eventi": "event count", "durata media sessione": "average session duration", "clic": "clicks",
        "impressioni": "impressions", "posizione": "position", "entrate totali": "total revenue", "data": "date",
        "giorno": "day", "30 giorni": "30 days", "7 giorni": "7 days", "1 giorno": "1 day",
    },
    "pt": {
        "visualizações": "views", "visualizações de página": "pageviews", "usuários ativos": "active users",
        "utilizadores ativos": "active users", "usuários": "users", "novos usuários": "new users",
        "total de usuários": "total users", "usuários recorrentes": "returning users", "sessões": "sessions",
        "sessões engajadas": "engaged sessions", "taxa de rejeição": "bounce rate",
        "taxa de engajamento": "engagement rate", "contagem de eventos": "event count",
        "duração média da sessão": "average session duration", "cliques": "clicks", "impressões": "impressions",
        "posição": "position", "receita total": "total revenue", "data": "date", "dia": "day",
        "30 dias": "30 days", "7 dias": "7 days", "1 dia": "1 day",
    },
    "nl": {
        "weergaven": "views", "paginaweergaven": "pageviews", "actieve gebruikers": "active users",
        "gebruikers": "users", "nieuwe gebruikers": "new users", "totaal aantal gebruikers": "total users",
        "terugkerende gebruikers": "returning users", "sessies": "sessions", "bouncepercentage": "bounce rate",
        "betrokkenheidspercentage": "engagement rate", "aantal gebeurtenissen": "event count",
        "gemiddelde sessieduur": "average session duration", "klikken": "clicks", "vertoningen": "impressions",
        "positie": "position", "totale opbrengst": "total revenue", "datum": "date", "dag": "day",
        "30 dagen": "30 days", "7 dagen": "7 days", "1 dag": "1 day",
    },
}  # fmt: skip
ENGLISH = {title: english for words in TRANSLATIONS.values() for title, english in words.items()}


def translate(title: str) -> str:
    """The English title, in lower case; the title itself if it is not a known one."""
    lowered = title.strip().lower()
    return ENGLISH.get(lowered, lowered)


def is_foreign(header: tuple[str, ...]) -> bool:
    """Whether a title is a known one of another language than English."""
    return any(translate(title) != title.strip().lower() for title in header)


def is_total(text: str) -> bool:
    return not text[:1].isdigit() and text.strip().lower().rstrip(":") in TOTALS
