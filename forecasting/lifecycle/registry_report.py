"""The versions of a store, as people read them."""

from forecasting.errors import BrokenArtifact
from forecasting.lifecycle.registry import Registry, find_promised_error, measure_size
from forecasting.predictor import SEASONAL_NAIVE
from forecasting.runtime.disk import show_size

HEAD = ("version", "made", "days", "series", "error", "size", "use")


def describe_versions(registry: Registry) -> str:
    """A line for each, the newest first."""
    if not registry.versions:
        return f"there is no version in {registry.store} yet"
    rows = [HEAD, *(_describe_row(registry, version) for version in reversed(registry.versions))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    note = "error: on days that training had not seen, relative to the seasonal naive forecast; lower is better"
    return "\n".join([*lines, note])


def _describe_row(registry: Registry, version: str) -> tuple[str, ...]:
    use, size = registry.describe_use(version), show_size(measure_size(registry.store, version))
    try:
        card = registry.find(version)
    except BrokenArtifact:
        return version, "?", "?", "?", "?", size, ", ".join(part for part in (use, "model.json is broken") if part)
    error = find_promised_error(card)
    days = f"{card.data.get('first_day')}..{card.data.get('last_day')}"
    shown = "-" if error is None else f"{error:.3f}"
    return version, card.created_at[:10], days, f"{len(card.series):,}", shown, size, use


def describe_version(registry: Registry, version: str) -> str:
    """Raises UnknownVersion and BrokenArtifact."""
    card = registry.find(version)
    error, use = find_promised_error(card), registry.describe_use(version)
    data, num_naive = card.data, sum(series.answered_by == SEASONAL_NAIVE for series in card.series)
    promise = "nothing known" if error is None else f"{error:.3f} times the seasonal naive forecast's error"
    parts = {
        "version": f"{version} ({use})" if use else version,
        "made": f"{card.created_at}, with torch {card.libraries.get('torch', '?')}",
        "trained on": f"{data.get('first_day')}..{data.get('last_day')}, from {data.get('source', '?')}",
        "series": f"{len(card.series):,} of {len(card.by_site):,} sites, {num_naive:,} by the seasonal naive forecast",
        "promises": promise,
        "parameters": f"{card.total_parameters:,}",
        "size": show_size(measure_size(registry.store, version)),
        "folder": str((registry.store / version).absolute()),
    }
    return "\n".join(f"{name:11} {text}" for name, text in parts.items())
