"""How accurate forecasts are, before and after a change, on files given as arguments and on sites with sharp weeks.

`before` is another base model (a folder with weights.pt and model.json) or another checkout; without --before there is
one column. Cutoffs are `--step` days apart, so that they fall on every weekday, and sites are weighted alike: the error
of a site is the geometric mean over its series, that of a file the geometric mean over sites. Errors are relative to
those of the seasonal naive forecast. In brackets: the share of days in the 80% and in the 90% band.
"""

import argparse
import csv
import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from forecasting.commands.backtest import COMMAND, read
from forecasting.domain import Verdict, to_date, to_day
from forecasting.evaluation.rolling_origins import Rolling, RollingForecasts, roll
from forecasting.evaluation.scoring import HIGHEST, LOWER, LOWEST, UPPER, judged_rows
from forecasting.model.forecaster import MEDIAN
from forecasting.training.forecasters import forecast_naive, forecast_peers

HERE = Path(__file__).resolve().parent
HORIZONS = {"1 to 7": slice(0, 7), "8 to 14": slice(7, 14), "15 to 28": slice(14, 28)}
DAYS_AHEAD, LONG = 28, 400
DAYS_SHOWN = (1, 2, 3, 4, 5, 6, 7, 8, 14, 15, 21, 28)
VOLUMES = (0.0, 1.0, 5.0, 50.0, np.inf)
WHOLE, HALF = 1.0, 0.5
TUESDAY = 1
SHARP_WEEKS = {"2": 2.0, "3": 3.0, "5": 5.0, "10": 10.0, "50": 50.0}  # Tuesday, times the other days
NUM_SITES, NUM_DAYS, NOISE = 8, 250, 0.1
Cells = dict[str, str]
Forecasts = Mapping["Run", tuple[np.ndarray, np.ndarray]]  # quantiles and totals


def main() -> None:
    arguments = parse_arguments()
    console = Console(width=200)
    for file in arguments.files:
        console.print(compare(file, arguments))
        console.print()
    with tempfile.TemporaryDirectory() as folder:
        console.print(compare_sharp_weeks(Path(folder) / "sharp_weeks.csv", arguments))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="CSV files of daily traffic")
    parser.add_argument("--before", type=Path, metavar="FOLDER", help="another base model, or another checkout")
    parser.add_argument("--after", type=Path, metavar="FOLDER", help="in place of this checkout's base model")
    parser.add_argument("--step", type=int, default=5, help="days from one cutoff to the next (%(default)s)")
    parser.add_argument("--origins", type=int, default=100, help="most cutoffs of a series (%(default)s)")
    parser.add_argument("--fine-tuned", action="store_true", help="also models fine-tuned on all days before")
    parser.add_argument("--peers", type=int, default=0, metavar="N", help="also statsforecast's, at N cutoffs a series")
    parser.add_argument("--country", metavar="CODE", help="also holidays and their neighbours, such as those of US")
    return parser.parse_args()


@dataclass(frozen=True)
class Run:
    """Forecasts of all origins of a file."""

    label: str
    history: str
    fine_tuned: bool = False
    share_of_last_day: float = WHOLE

    def arguments(self, file: Path, options: argparse.Namespace) -> list[str]:
        return [
            "--csv", str(file.absolute()), "--history", self.history, "--step", str(options.step),
            "--origins", str(options.origins), "--days-ahead", str(DAYS_AHEAD),
        ]  # fmt: skip


SHORT, ALL = Run("60 days of history", "60"), Run("all history", "all")
CUT, TUNED = Run("last day half-counted", "60", share_of_last_day=HALF), Run("fine-tuned", "all", fine_tuned=True)


def compare(file: Path, options: argparse.Namespace) -> Table:
    """The table of one file."""
    runs = [SHORT, ALL, CUT, *([TUNED] if options.fine_tuned else [])]
    truth = Truth.read(file, options)
    shared = describe_peers(truth, options.peers) if options.peers else {}
    columns = {
        name: {
            **describe(truth, forecasts := forecast(file, runs, place, options)),
            **(describe_holidays(truth, forecasts[SHORT][0], options.country) if options.country else {}),
            **(describe_beside_peers(truth, forecasts[SHORT][0], options.peers) if options.peers else {}),
            **shared,
        }
        for name, place in versions(options).items()
    }
    return draw(f"{file.name}: {truth.describe()}", columns)


def versions(options: argparse.Namespace) -> dict[str, Path | None]:
    return {"before": options.before, "after": options.after} if options.before else {"now": options.after}


def draw(title: str, columns: Mapping[str, Cells]) -> Table:
    table = Table("", title=title, title_justify="left", box=None, header_style="")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for label in next(iter(columns.values())):
        table.add_row(label, *(cells[label] for cells in columns.values()))
    return table


def forecast(file: Path, runs: list[Run], place: Path | None, options: argparse.Namespace) -> Forecasts:
    """Quantiles and totals of each run, by the code and base model of a checkout, or by the base model in a folder."""
    is_checkout = place is not None and (place / "forecasting").is_dir()
    checkout = place if place is not None and is_checkout else HERE.parents[1]
    with tempfile.TemporaryDirectory() as folder:
        outs = [Path(folder) / f"{number}.npz" for number in range(len(runs))]
        plan = {
            "base": str(place.absolute()) if place and not is_checkout else None,
            "runs": [
                {
                    "arguments": run.arguments(file, options),
                    "label": f"{file.name}, {run.label}",
                    "fine_tuned": run.fine_tuned,
                    "share_of_last_day": run.share_of_last_day,
                    "totals": run is SHORT,
                    "out": str(out),
                }
                for run, out in zip(runs, outs, strict=True)
            ],
        }
        (Path(folder) / "plan.json").write_text(json.dumps(plan))
        command = [sys.executable, HERE / "accuracy_forecasts.py", Path(folder) / "plan.json"]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(checkout.absolute())})
        loaded = [np.load(out) for out in outs]
        return {run: (file["quantiles"], file["totals"]) for run, file in zip(runs, loaded, strict=True)}


@dataclass(frozen=True)
class Truth:
    """What came, and what the seasonal naive forecast said."""

    rolling: Rolling
    actual: np.ndarray
    naive: RollingForecasts
    judged: np.ndarray  # rows of the panel

    @classmethod
    def read(cls, file: Path, options: argparse.Namespace) -> "Truth":
        config, _ = COMMAND.parse(ALL.arguments(file, options))
        rolling = roll(read(config), config.backtest)
        naive = forecast_naive(rolling)
        return cls(rolling, rolling.actual(), naive, np.array(judged_rows(rolling, naive), np.int64))

    def describe(self) -> str:
        sites = {self.rolling.panel.series[row].site for row in self.judged}
        return f"{len(self.rolling.rows)} cutoffs, {len(sites)} sites with {len(self.judged)} series"

    @cached_property
    def everywhere(self) -> np.ndarray:
        return np.ones(len(self.rolling.rows), bool)

    @cached_property
    def days(self) -> np.ndarray:
        """Those forecast, by origin, since 1970-01-01."""
        return np.asarray(self.rolling.panel.first_day + self.rolling.cutoffs[:, None] + np.arange(1, DAYS_AHEAD + 1))

    def on(self, is_meant: np.ndarray) -> "Truth":
        """As if only these days of each origin were known."""
        return replace(self, actual=np.where(is_meant, self.actual, np.nan))

    def thin(self, num_cutoffs: int) -> tuple["Truth", np.ndarray]:
        """At most so many cutoffs of each series, evenly spread, with 60 days of history; and which these are."""
        chosen = np.zeros(len(self.rolling.rows), bool)
        for row in self.judged:
            origins = np.flatnonzero(self.rolling.rows == row)
            chosen[origins[np.linspace(0, len(origins) - 1, min(num_cutoffs, len(origins))).astype(int)]] = True
        rolling = replace(self.rolling.select(chosen), history_days=60)
        naive = replace(self.naive, quantiles=self.naive.quantiles[chosen])
        return Truth(rolling, self.actual[chosen], naive, self.judged), chosen

    @cached_property
    def is_long(self) -> np.ndarray:
        """Whether an origin has LONG days of its series' life before it."""
        begins = (self.rolling.panel.verdicts != Verdict.before).argmax(1)
        return np.asarray(self.rolling.cutoffs + 1 - begins[self.rolling.rows] >= LONG)

    def over_sites(self, values: np.ndarray) -> np.ndarray:
        """The mean over sites of the mean over each one's series; `values` has a row for each of `judged`."""
        sites = np.array([self.rolling.panel.series[row].site for row in self.judged])
        known = np.isfinite(values)
        means = []
        for site in np.unique(sites):
            own, here = values[sites == site], known[sites == site]
            means.append(np.where(here, own, 0).sum(0) / np.where(here.any(0), here.sum(0), np.nan))
        return np.nanmean(means, axis=0) if means else np.full(values.shape[1:], np.nan)

    def by_series(self, values: np.ndarray, origins: np.ndarray) -> np.ndarray:
        """Means over the origins and days of each judged series; NaN where there are none."""
        rows = [values[(self.rolling.rows == row) & origins] for row in self.judged]
        return np.array([np.nanmean(row) if np.isfinite(row).any() else np.nan for row in rows])

    def relative_error(self, quantiles: np.ndarray, days: slice, origins: np.ndarray) -> float:
        error, naive = (np.abs(q[:, days, MEDIAN] - self.actual[:, days]) for q in (quantiles, self.naive.quantiles))
        own, others = self.by_series(error, origins), self.by_series(naive, origins)
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.exp(self.over_sites(np.log(own / others))))

    def held(self, quantiles: np.ndarray, band: tuple[int, int], days: slice, origins: np.ndarray) -> float:
        low, high, actual = quantiles[:, days, band[0]], quantiles[:, days, band[1]], self.actual[:, days]
        inside = np.where(np.isfinite(actual), (low <= actual) & (actual <= high), np.nan)
        return float(self.over_sites(self.by_series(inside, origins)))


def describe(truth: Truth, forecasts: Forecasts) -> Cells:
    """The cells of one column, by the labels of their rows."""
    if not truth.judged.size:  # all nearly empty, or repeating exactly
        return describe_totals(truth, forecasts[SHORT][1])
    everywhere, cells = truth.everywhere, {}
    for run, (quantiles, _) in forecasts.items():
        origins = truth.is_long if run is ALL else everywhere
        label = f"{LONG} days and more" if run is ALL else run.label
        for name, days in HORIZONS.items():
            if origins.any() and (run is not CUT or name == "1 to 7"):
                cells[f"{label}, day {name}"] = describe_days(truth, quantiles, days, origins)
    quantiles, totals = forecasts[SHORT]
    for day in DAYS_SHOWN:
        cells[f"60 days of history, day {day}"] = describe_days(truth, quantiles, slice(day - 1, day), everywhere)
    return {**cells, **describe_totals(truth, totals)}


def describe_days(truth: Truth, quantiles: np.ndarray, days: slice, origins: np.ndarray) -> str:
    shares = [truth.held(quantiles, band, days, origins) for band in ((LOWER, UPPER), (LOWEST, HIGHEST))]
    return f"{truth.relative_error(quantiles, days, origins):.3f} ({shares[0]:3.0%} {shares[1]:3.0%})"


def describe_totals(truth: Truth, totals: np.ndarray) -> Cells:
    """The mean absolute error of a week's total over the mean total, and what its band held, by visits a day."""
    actual = truth.actual[:, :7].sum(1)
    panel = truth.rolling.panel
    volumes = np.array([np.nanmean(values) if np.isfinite(values).any() else np.nan for values in panel.values])
    cells = {}
    for low, high in pairwise(VOLUMES):
        volume = volumes[truth.rolling.rows]
        chosen = np.isfinite(actual) & np.isfinite(totals[:, 0]) & (low <= volume) & (volume < high)
        if chosen.any():
            value, lower, upper = totals[chosen].T
            error = np.abs(value - actual[chosen]).mean() / actual[chosen].mean()
            held = np.mean((lower <= actual[chosen]) & (actual[chosen] <= upper))
            cells[f"week's total, {low:g} to {high:g} a day"] = f"{error:.3f} ({held:3.0%})"
    return cells


def describe_holidays(truth: Truth, quantiles: np.ndarray, country: str) -> Cells:
    """Errors of the first week on holidays, on the days beside them and on the others."""
    import holidays

    first, last = (to_date(int(day)) for day in (truth.days.min() - 1, truth.days.max() + 1))
    calendar = holidays.country_holidays(country, years=range(first.year, last.year + 1))
    dates = np.array([to_day(date) for date in calendar])
    is_holiday = np.isin(truth.days, dates)
    is_beside = (np.isin(truth.days - 1, dates) | np.isin(truth.days + 1, dates)) & ~is_holiday
    groups = {"holidays": is_holiday, "days beside them": is_beside, "other days": ~is_holiday & ~is_beside}
    first_week = slice(0, 7)
    return {
        f"{name} of {country}, day 1 to 7": describe_days(truth.on(days), quantiles, first_week, truth.everywhere)
        for name, days in groups.items()
    }


def describe_peers(truth: Truth, num_cutoffs: int) -> Cells:
    """Of each peer, on the cutoffs of `describe_beside_peers`."""
    thinned, _ = truth.thin(num_cutoffs)
    return {
        f"{peer.name}, day {name}, {num_cutoffs} cutoffs": describe_days(
            thinned, peer.quantiles, days, thinned.everywhere
        )
        for peer in forecast_peers(thinned.rolling)
        for name, days in HORIZONS.items()
    }


def describe_beside_peers(truth: Truth, quantiles: np.ndarray, num_cutoffs: int) -> Cells:
    thinned, chosen = truth.thin(num_cutoffs)
    return {
        f"60 days of history, day {name}, {num_cutoffs} cutoffs": describe_days(
            thinned, quantiles[chosen], days, thinned.everywhere
        )
        for name, days in HORIZONS.items()
    }


def compare_sharp_weeks(file: Path, options: argparse.Namespace) -> Table:
    """Made sites with a peak on Tuesdays, or closed on weekends: forecast over actual value there, and the bands."""
    write_sharp_weeks(file)
    options = replace_options(options, step=5, origins=20)
    truth = Truth.read(file, options)
    columns = {
        name: describe_sharp_weeks(truth, forecast(file, [SHORT], place, options)[SHORT][0])
        for name, place in versions(options).items()
    }
    return draw(f"sharp weeks, {NUM_SITES} made sites each, {NOISE:.0%} noise", columns)


def replace_options(options: argparse.Namespace, **changed: object) -> argparse.Namespace:
    return argparse.Namespace(**{**vars(options), **changed})


def write_sharp_weeks(file: Path) -> None:
    rng, first = np.random.default_rng(17), dt.date(2023, 1, 2)
    weekday = np.arange(NUM_DAYS) % 7
    shapes = {name: np.where(weekday == TUESDAY, factor, 1.0) for name, factor in SHARP_WEEKS.items()}
    shapes["closed"] = np.where(weekday >= 5, 0.0, 1.0)
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["series", "metric", "date", "value"])
        for name, shape in shapes.items():
            for number, level in enumerate(np.geomspace(30, 10_000, NUM_SITES)):
                values = rng.poisson(level * shape * np.exp(rng.normal(0, NOISE, NUM_DAYS)))
                dates = [first + dt.timedelta(days=day) for day in range(NUM_DAYS)]
                rows = zip(dates, values.tolist(), strict=True)
                writer.writerows([f"{name}-{number}", "page_visits", date, value] for date, value in rows)


def describe_sharp_weeks(truth: Truth, quantiles: np.ndarray) -> Cells:
    names = np.array([series.site.split("-")[0] for series in truth.rolling.panel.series])[truth.rolling.rows]
    weekday = (truth.days + 3) % 7
    low, median, high = (quantiles[..., level] for level in (LOWER, MEDIAN, UPPER))
    cells = {}
    for name in [*SHARP_WEEKS, "closed"]:
        of_peak = weekday == TUESDAY if name != "closed" else weekday < 5
        for label, days in HORIZONS.items():
            chosen = np.zeros_like(of_peak)
            chosen[names == name, days] = of_peak[names == name, days]
            actual = truth.actual[chosen]
            ratio = median[chosen].sum() / actual.sum() - 1
            held = np.mean((low[chosen] <= actual) & (actual <= high[chosen]))
            where = "open days, closed on weekends" if name == "closed" else f"Tuesdays of {name} times the other days"
            cells[f"{where}, day {label}"] = f"{ratio:+.1%} ({held:3.0%})"
    return cells


if __name__ == "__main__":
    main()
