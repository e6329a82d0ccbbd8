"""Forecasts of a file, CSV or Parquet, without a database."""

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecasting.artifact import list_versions, load_artifact
from forecasting.card import SeriesCard, describe_series_card
from forecasting.domain import MIN_DAYS, RECENT_DAYS, Series, to_day
from forecasting.errors import DataError, SettingError, StoreNotWritable, TooFewDays, name_some
from forecasting.frames.forecasts import FORECAST, find_columns, name_columns
from forecasting.frames.known_days import learn_known
from forecasting.frames.loaded_model import LoadedModel, SeriesForecasts, load_model
from forecasting.frames.plot import MAX_DAYS, MAX_SERIES, Line, draw_lines
from forecasting.frames.series_rows import SeriesRows
from forecasting.panel import Observations
from forecasting.predictor import usual_bands
from forecasting.runtime.disk import explain_unwritable
from forecasting.runtime.log import LOGGER
from forecasting.settings.schema import BASE_VERSION, Config
from forecasting.warehouse.csv.files import NEEDS_ARROW, PARQUET, read_files
from forecasting.warehouse.csv.observations import select

LEVELS = (80.0, 90.0)
STDIN = "stdin.csv"


def forecast_file(config: Config) -> None:
    """Reads `forecast.csv`, forecasts each of its series, and writes what `forecast.out` and `forecast.plot` name.

    Raises DataError, SettingError, ArtifactError.
    """
    model, days_ahead = _load_model(config), config.forecast.days_ahead
    with _opened(config.forecast.csv or Path("-")) as file:
        observations = _read(file, config)
    series, rows = [each.series for each in observations], _join(observations)
    cards = [_find_card(model, each) for each in series]
    countries = [config.data.country_of(each.site) for each in series]
    cards = learn_known(rows, cards, countries, model.config)
    forecasts = model.forecast(rows, cards, days_ahead)
    _report_short(series, forecasts)
    table = _tabulate(model, series, cards, forecasts)
    LOGGER.info("%s forecasts %d of %d series", model.predictor.name, len(forecasts.rows), len(series))
    _write(table, config.forecast.out or Path("-"))
    if config.forecast.plot:
        _plot(table, series, rows, forecasts, config.forecast.plot)


def _load_model(config: Config) -> LoadedModel:
    """The version that `model_version` names, else the one that is served, else the base, with a line that says so."""
    version = config.model_version
    if version is None and not list_versions(config.model_dir):
        LOGGER.info("note: there is no version in %s yet: the base model forecasts", config.model_dir)
        version = BASE_VERSION
    return load_model(BASE_VERSION if version == BASE_VERSION else load_artifact(config.model_dir, version).folder)


@contextmanager
def _opened(file: Path) -> Iterator[Path]:
    """The file or folder; or a copy of stdin."""
    if str(file) != "-":
        yield file
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / STDIN
        with copy.open("wb") as output:
            shutil.copyfileobj(sys.stdin.buffer, output)
        yield copy


def _read(file: Path, config: Config) -> list[Observations]:
    """Of the metrics and sites that the settings name, or of all, without today and later days."""
    try:
        content = read_files(file, metrics=config.metrics, data=config.data)
    except DataError as error:
        raise type(error)(str(error).replace(str(file), str(config.forecast.csv))) from error
    for note in content.notes:
        LOGGER.info("note: %s", note)
    data = config.data
    selected = select(content.observations, metrics=data.metrics, sites=data.sites)
    return [_complete(each, to_day(data.today(data.timezone_of(each.series.site)))) for each in selected]


def _complete(observed: Observations, today: int) -> Observations:
    is_over = observed.days < today
    if not is_over.all():
        LOGGER.info("note: %s: today and later days are left out", observed.series.name)
    return replace(observed, days=observed.days[is_over], values=observed.values[is_over])


def _join(observations: Sequence[Observations]) -> SeriesRows:
    """In the units of the file."""
    return SeriesRows(
        np.array([len(each.days) for each in observations], np.int64),
        np.concatenate([each.days for each in observations]),
        np.concatenate([each.values * each.series.unit_scale for each in observations]),
    )


def _find_card(model: LoadedModel, series: Series) -> SeriesCard:
    card = model.find_card(series.site, series.metric, series.kind)
    is_known = card.key == series.key
    return card if is_known else describe_series_card(series, usual_bands(model.predictor.horizon))


def _report_short(series: Sequence[Series], forecasts: SeriesForecasts) -> None:
    """Raises TooFewDays if no series is left."""
    short = sorted(set(range(len(series))) - set(forecasts.rows.tolist()))
    if not short:
        return
    reason = (
        f"{series[short[0]].name} has {forecasts.num_values[short[0]]} days with a value, "
        f"{forecasts.num_known[short[0]]} of them among the last {RECENT_DAYS}; a forecast needs {MIN_DAYS}, and "
        f"{forecasts.num_needed[short[0]]} among the last {RECENT_DAYS}."
    )
    if len(short) == len(series):
        raise TooFewDays(f"{reason} Add the missing days.")
    LOGGER.warning("left out: %s. %s", name_some([series[place].name for place in short], at_most=5), reason)


def _tabulate(
    model: LoadedModel, series: Sequence[Series], cards: Sequence[SeriesCard], forecasts: SeriesForecasts
) -> Any:  # Any: a pandas frame
    h = forecasts.quantiles.shape[1]
    chosen = np.repeat(forecasts.rows, h).tolist()
    days = (forecasts.cutoffs[:, None] + np.arange(1, h + 1)).ravel()
    return pd.DataFrame(
        {
            "site": [series[place].site for place in chosen],
            "metric": [series[place].metric for place in chosen],
            "date": days.astype("datetime64[D]"),
            **find_columns(model, cards, forecasts, name_columns(LEVELS, None)),
        }
    )


def _write(table: Any, out: Path) -> None:  # Any: a pandas frame
    try:
        if out.suffix in PARQUET:
            table.to_parquet(out, index=False)
        else:
            target = sys.stdout if str(out) == "-" else out
            table.to_csv(target, index=False, float_format="%.6g", date_format="%Y-%m-%d")
    except ImportError as error:
        raise SettingError(f"Parquet {NEEDS_ARROW}") from error
    except OSError as error:
        raise StoreNotWritable(explain_unwritable(out.absolute(), error)) from error
    if str(out) != "-":
        LOGGER.info("wrote %s rows to %s", f"{len(table):,}", out)


def _plot(
    table: Any, series: Sequence[Series], rows: SeriesRows, forecasts: SeriesForecasts, file: Path
) -> None:  # Any: a pandas frame
    h, lines = forecasts.quantiles.shape[1], []
    for number, place in enumerate(forecasts.rows[:MAX_SERIES].tolist()):
        past, ahead = rows.select(slice(place, place + 1)), table[number * h : (number + 1) * h]
        bands = [
            (f"{width:g}% band", ahead[f"{FORECAST}-lo-{width:g}"].tolist(), ahead[f"{FORECAST}-hi-{width:g}"].tolist())
            for width in sorted(LEVELS, reverse=True)
        ]
        lines.append(
            Line(
                series[place].name,
                past.days[-MAX_DAYS:].astype("datetime64[D]"),
                past.values[-MAX_DAYS:].tolist(),
                ahead["date"].to_numpy().astype("datetime64[D]"),
                ahead[FORECAST].tolist(),
                bands,
            )
        )
    try:
        if file.suffix == ".png":
            draw_lines(lines, engine="matplotlib").savefig(file, dpi=110)
        else:
            draw_lines(lines, engine="plotly").write_html(file)
    except OSError as error:
        raise StoreNotWritable(explain_unwritable(file.absolute(), error)) from error
    LOGGER.info("drew the first %d of %d series: %s", len(lines), len(forecasts.rows), file)
