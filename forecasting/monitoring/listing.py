"""Unusual days as they were kept, for people and for the routes."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

from forecasting.domain import Sensitivity
from forecasting.monitoring.wording import describe_severity, name_metric
from forecasting.settings.schema import Config
from forecasting.warehouse.anomaly_store import AnomalyQuery, read_anomalies
from forecasting.warehouse.connection import connected
from forecasting.warehouse.origin import find_origin, read_site_index
from forecasting.warehouse.schema import translate_missing_schema

SHOWN_DAYS = 30  # before today, if nobody says since when
MAX_LISTED = 1000
VERDICTS = {
    "outage": "Nothing was counted: the tracker may have stopped.",
    "partial": "Hours are missing: the tracker may have stopped.",
    "bot": "It looks like traffic of bots.",
    "definition_break": "The metric is counted in another way since.",
}


async def list_anomalies(config: Config) -> str:
    """A line for each unusual day that was told, of the sites and metrics that `data` names."""
    data, today = config.data, config.data.today()
    since = config.anomalies.since_date or today - dt.timedelta(days=SHOWN_DAYS)
    async with connected(config.kept_in) as connection:
        with translate_missing_schema(data):
            index = await read_site_index(connection, source=(await find_origin(connection, data)).source)
            sites = index.find_present_names(data.sites)
            query = AnomalyQuery(since, today, Sensitivity.high.threshold, sites=sites, limit=MAX_LISTED)
            rows = await read_anomalies(connection, query)
    told = [row for row in rows if _is_told(row, config) and row["metric"] in (data.metrics or [row["metric"]])]
    if not told:
        return f"no unusual day since {since}"
    told.sort(key=lambda row: (row["day"], row["site"], row["metric"]))
    return "\n".join(f"{row['day']} {row['site']} {row['metric']}: {describe_row(row)}" for row in told)


def _is_told(row: Any, config: Config) -> bool:  # Any: PostgreSQL's row
    threshold = config.alerts.sensitivity_of(row["site"], row["metric"]).threshold
    return bool(abs(row["score"]) > threshold)


def describe_row(row: Any) -> str:  # Any: PostgreSQL's row
    """What happened, what else happened, and why, as far as the data tells."""
    parts = [row["text"]]
    if row["is_new_level"]:
        parts.append("Still at a new level after 3 days.")
    if row["also"]:
        parts.append(f"Also {join([name_metric(metric) for metric in row['also']])}.")
    if row["num_other_sites"]:
        number = row["num_other_sites"]
        parts.append("Another site on the same day." if number == 1 else f"{number} other sites on the same day.")
    parts += [VERDICTS[row["verdict"]]] if row["verdict"] in VERDICTS else []
    parts += [f"It was {row['cause']}, when traffic often differs."] if row["cause"] else []
    if row["withdrawn_at"]:
        parts.append("Corrected since: the day is as expected.")
    elif row["value_before"] is not None:
        parts.append("Corrected since it was first told.")
    parts += [f"Seen by {row['acknowledged_by']}."] if row["acknowledged_by"] else []
    return " ".join(parts)


def describe_for_routes(row: Any) -> dict[str, Any]:  # Any: PostgreSQL's row, json's own types
    moment = ("judged_at", "told_at", "withdrawn_at", "acknowledged_at")
    return {
        **{name: row[name] for name in ("id", "site", "metric")},
        "date": row["day"].isoformat(),
        **{name: row[name] for name in ("kind", "value", "expected", "lower", "upper", "score", "direction")},
        "severity": describe_severity(row["score"]),
        "sensitivity": row["sensitivity"],
        "first_date": row["first_day"].isoformat(),
        "text": describe_row(row),
        "new_level": row["is_new_level"],
        "also": list(row["also"]),
        "num_other_sites": row["num_other_sites"],
        "verdict": row["verdict"] or None,
        "cause": row["cause"] or None,
        "value_before": row["value_before"],
        "model_version": row["version"],
        **{name: row[name].isoformat(timespec="seconds") if row[name] else None for name in moment},
        "acknowledged_by": row["acknowledged_by"],
        "note": row["note"],
    }


def describe_acknowledged(rows: Sequence[Any]) -> dict[str, Any]:  # Any: PostgreSQL's rows, json's own types
    first = rows[0]
    return {
        "ids": sorted(row["id"] for row in rows),
        "acknowledged_at": first["acknowledged_at"].isoformat(timespec="seconds"),
        "acknowledged_by": first["acknowledged_by"],
        "note": first["note"],
    }


def join(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
