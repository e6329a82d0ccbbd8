"""What scripts/sources.py --days prints: how many days of each series have which verdict, and every unusual day."""

from typing import Any

import numpy as np
from jaxtyping import Int

from forecasting.domain import MASKABLE, Verdict, to_date
from forecasting.panel import Panel
from forecasting.runtime.terminal import render
from forecasting.settings.schema import Config
from forecasting.warehouse.connection import connected, translate_errors
from forecasting.warehouse.ingest import update_with_progress
from forecasting.warehouse.origin import find_origin
from forecasting.warehouse.panel_loader import read_panel
from forecasting.warehouse.queries import fetch
from forecasting.warehouse.source_report import make_table

USUAL = (Verdict.before, Verdict.observed)


async def list_days(config: Config) -> str:
    """Updates forecasting.daily. Then counts the days of each series by verdict, and lists the unusual days, what is
    known about days, and the series that are left out.
    """
    result = await update_with_progress(config)
    async with connected(result.database) as connection:
        panel, unmasked = [
            await read_panel(connection, data=config.data, metrics=config.metrics, masked=masked)
            for masked in (MASKABLE, ())
        ]
        origin = await find_origin(connection, config.data)
        with translate_errors("reading forecasting.events"):
            events = await fetch(connection, "read_events", origin.source)
    sites = dict.fromkeys(series.site for series in panel.series)
    unusual = [line for site in sites for line in _list_unusual_days(site, panel, unmasked)]
    return "\n".join(
        [
            _count_days(panel),
            "",
            *(unusual or ["every day is as usual"]),
            *(f"known: {_describe_event(event)}" for event in events),
            *(f"note: {note}" for note in _notes_beyond_days(unmasked)),
        ]
    )


def _notes_beyond_days(panel: Panel) -> list[str]:
    """The notes that the list of days does not cover: about series that are not in the panel."""
    about_days = tuple(f"{series.name}{end}" for series in panel.series for end in (":", " ends on "))
    return [note for note in panel.notes if not note.startswith(about_days)]


def _count_days(panel: Panel) -> str:
    counts = np.stack([(panel.verdicts == verdict).sum(1) for verdict in Verdict], 1)
    shown = [verdict for verdict in Verdict if counts[:, verdict].any() and verdict is not Verdict.before]
    table = make_table("series", *(verdict.name for verdict in shown))
    for series, row in zip(panel.series, counts, strict=True):
        table.add_row(series.name, *(f"{row[verdict]:,}" for verdict in shown))
    return render(table)


def _list_unusual_days(site: str, panel: Panel, unmasked: Panel) -> list[str]:
    """One line for consecutive days with the same verdict on the same metrics, with the first metric's values."""
    rows = [row for row, series in enumerate(panel.series) if series.site == site]
    columns: dict[tuple[Verdict, tuple[int, ...]], list[int]] = {}
    for column in np.flatnonzero(~np.isin(panel.verdicts[rows], USUAL).all(0)):
        for verdict in Verdict:
            affected = tuple(row for row in rows if panel.verdicts[row, column] == verdict)
            if affected and verdict not in USUAL:
                columns.setdefault((verdict, affected), []).append(int(column))
    spans = [
        (span, verdict, affected)
        for (verdict, affected), days in columns.items()
        for span in np.split(np.array(days), np.flatnonzero(np.diff(days) > 1) + 1)
    ]
    return [
        f"{site}: {_describe_span(panel, span)} {verdict.name}: "
        f"{', '.join(panel.series[row].metric for row in affected)}"
        f"{_describe_values(unmasked, affected[0], span, verdict)}"
        for span, verdict, affected in sorted(spans, key=lambda line: (line[0][0], line[1]))
    ]


def _describe_span(panel: Panel, span: Int[np.ndarray, " days"]) -> str:
    first, last = (to_date(panel.first_day + column) for column in (span[0], span[-1]))
    return str(first) if first == last else f"{first}..{last}"


def _describe_values(panel: Panel, row: int, span: Int[np.ndarray, " days"], verdict: Verdict) -> str:
    """In the source's unit; nothing for days without a value."""
    if verdict in (Verdict.gap, Verdict.unmeasured):
        return ""
    values = panel.values[row, span] * panel.series[row].unit_scale
    if not np.isfinite(values).all():
        return ""  # an impossible value is not in the panel
    extremes = " to ".join(f"{value:,.6g}" for value in sorted({float(values.min()), float(values.max())}))
    return f" ({panel.series[row].metric} {extremes})"


def _describe_event(event: Any) -> str:  # Any: PostgreSQL's row
    series = " of ".join(name for name in (event["metric"], event["site"]) if name)
    change = "measured differently from this day on: " if event["is_break"] else ""
    first, last = event["first_day"], event["last_day"]
    note = f" ({event['note']})" if event["note"] not in ("", event["name"]) else ""
    days = first if first == last else f"{first}..{last}"
    return f"{days}{f', {series}' if series else ''}: {change}{event['name']}{note}"
