"""How many planted changes are told, and how many messages real series cause: our rule and three others, side by side.

Files are daily traffic as scripts/anomalies.py --csv reads it. Days are judged as `scripts/anomalies.py --simulate`
does, each from the days before it alone. Every series counts alike, in each kind of change.
"""

import argparse
import csv
import gzip
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from planted_changes import (
    FIRST,
    LEAST_LEVEL,
    LEVELS,
    OUTAGE,
    RAMPS,
    SINGLE_KINDS,
    Change,
    Copy,
    Original,
    find_usual,
    is_plantable,
    plant,
)
from unusual_peers import PEERS, score_by_ets

from forecasting.commands.anomalies import COMMAND, read_past
from forecasting.domain import Sensitivity, to_date
from forecasting.known_days.holiday_calendar import AFTER, BEFORE, SCHOOL, name_days
from forecasting.monitoring.looking_back import JudgedSeries, judge_past
from forecasting.monitoring.rule import find_first_days
from forecasting.settings.loading import load_config
from forecasting.warehouse.csv.observations import read_csv_panel

MONTH, ALL_DAYS = 30, 100_000
RATES = (30, 90)  # one alarm in so many days
WITHIN = {OUTAGE: (1,), **dict.fromkeys(LEVELS, (1, 3)), **dict.fromkeys(RAMPS, (7, 10))}  # days
CUT_EVERY = 5  # of the series, one is also judged without its last days
NEAR = 0.01  # scores of the same day by other batches of the model

SHOWN_LEVELS = (Sensitivity.low, Sensitivity.medium, Sensitivity.high)

Days = np.ndarray


@dataclass(frozen=True)
class Scored:
    """The days of one copy by one method, from the series' own first day on; NaN where it could not be judged."""

    score: Days
    reason: Days

    def tell(self, threshold: float) -> Days:
        first = find_first_days(self.score, self.reason, threshold)
        return np.where(first, np.sign(np.nan_to_num(self.score)), 0).astype(np.int64)


@dataclass(frozen=True)
class Method:
    """What it says of each copy that it was given, by the copy's place."""

    scored: Mapping[int, Scored]
    thresholds: Mapping[str, float]


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    series = read_series(arguments.files, most=arguments.most, seed=arguments.seed, half=arguments.half)
    copies = plant(series, seed=arguments.seed)
    cut = cut_short(copies, seed=arguments.seed)
    ours = judge([*copies, *cut], series)
    methods = {"this": Method(ours, {level.value: level.threshold for level in SHOWN_LEVELS})}
    for name, (score, threshold) in PEERS.items():
        methods[name] = Method({place: by_peer(score, copy) for place, copy in enumerate(copies)}, {"": threshold})
    if arguments.ets:
        methods["AutoETS"] = Method(judge_by_ets(copies, arguments.ets), {"99%": 1.0})
    num_changes = sum(len(copy.changes) for copy in copies)
    print(f"{len(series)} series of {len(arguments.files)} files, {num_changes:,} planted changes")
    print_table([describe(method, name, copies) for name, method in methods.items()])
    print(f"days judged otherwise without the days after them: {count_differences(ours, copies, cut)}")
    if arguments.labels:
        print(describe_labels(arguments.labels))
    if arguments.country:
        print_holidays(arguments.files, arguments.country)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="CSV files: series, metric, date, value")
    parser.add_argument("--most", type=int, default=60, help="series of a file (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of which series, and which days (%(default)s)")
    parser.add_argument("--half", type=int, choices=(0, 1), help="half of the sites: constants are chosen on one alone")
    parser.add_argument("--ets", type=int, default=0, metavar="N", help="also statsforecast's AutoETS, of N series")
    parser.add_argument(
        "--labels", type=Path, metavar="FILE", help="days that people have marked: a column label, 0 or 1"
    )
    parser.add_argument(
        "--country", metavar="CODE", help="also messages on its holidays, unknown and known, such as US"
    )
    return parser.parse_args()


def read_series(files: Sequence[Path], *, most: int, seed: int, half: int | None) -> list[Original]:
    random = np.random.default_rng(seed)
    chosen = []
    for file in files:
        panel = read_csv_panel(file, load_config([]))
        series = []
        for row, named in enumerate(panel.series):
            known = np.flatnonzero(np.isfinite(panel.values[row]))
            values = panel.values[row, known[0] : known[-1] + 1].astype(np.float64)
            first_day = panel.first_day + int(known[0])
            series.append(Original(file.name, named.site, named.metric, first_day, values, find_usual(values)))
        series = [original for original in series if is_plantable(original.values)]
        chosen += [series[place] for place in sorted(random.permutation(len(series))[:most].tolist())]
    return [original for original in chosen if half is None or original.half == half]


def cut_short(copies: Sequence[Copy], *, seed: int) -> list[Copy]:
    """Some of the unaltered copies without their last days."""
    random = np.random.default_rng(seed)
    whole = [copy for copy in copies if not copy.changes][::CUT_EVERY]
    return [Copy(copy.source, copy.values[: int(random.integers(FIRST, len(copy.values)))]) for copy in whole]


def judge(copies: Sequence[Copy], series: Sequence[Original]) -> dict[int, Scored]:
    """As scripts/anomalies.py --simulate does, of a file in which each copy is a site."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "copies.csv"
        with file.open("w", newline="") as out:
            rows = csv.writer(out)
            rows.writerow(("series", "metric", "date", "value"))
            for place, copy in enumerate(copies):
                original = series[copy.source]
                dates = (to_date(original.first_day + day) for day in range(len(copy.values)))
                rows.writerows(
                    (place, original.metric, date, f"{value:.9g}")
                    for date, value in zip(dates, copy.values, strict=True)
                    if np.isfinite(value)
                )
        judged = simulate(file)
    return {int(each.series.site): align(each, copies, series) for each in judged}


def simulate(file: Path, *settings: str) -> list[JudgedSeries]:
    config, _ = COMMAND.parse(["--simulate", "--csv", str(file), "--days", str(ALL_DAYS), *settings])
    return list(judge_past(read_past(config), num_days=config.anomalies.days))


def align(judged: JudgedSeries, copies: Sequence[Copy], series: Sequence[Original]) -> Scored:
    copy = copies[int(judged.series.site)]
    missing = judged.first_day - series[copy.source].first_day
    reason = judged.comparison.judgement.reason[0]
    return Scored(
        np.concatenate([np.full(missing, np.nan), judged.score]), np.concatenate([np.zeros(missing, np.int64), reason])
    )


def by_peer(score: Callable[[Days], Days], copy: Copy) -> Scored:
    return Scored(score(copy.values), np.zeros(len(copy.values), np.int64))


def judge_by_ets(copies: Sequence[Copy], num_series: int) -> dict[int, Scored]:
    """Of the first copies with single days, and the unaltered ones, of some of the series that are not low."""
    usual = [copy.source for copy in copies if not copy.changes and not is_low(copy.values)]
    chosen = usual[:: max(1, len(usual) // num_series)][:num_series]
    places = [
        place
        for place, copy in enumerate(copies)
        if copy.source in chosen and all(change.kind in SINGLE_KINDS for change in copy.changes)
    ]
    return {place: by_peer(score_by_ets, copies[place]) for place in places}


def is_low(values: Days) -> bool:
    """Changes of so few visits are nothing."""
    return bool(np.nanmedian(values[FIRST:]) < LEAST_LEVEL)


def describe(method: Method, name: str, copies: Sequence[Copy]) -> dict[str, dict[str, str]]:
    """By the name of a column, its cells."""
    usual = [copy for copy in enumerate(copies) if not copy[1].changes and copy[0] in method.scored]
    busy = [place for place, copy in usual if not is_low(copy.values)]
    low = [place for place, copy in usual if is_low(copy.values)]
    columns = {}
    for level, threshold in method.thresholds.items():
        alarms = count_alarms(method, busy, threshold)
        cells = {"alarms a month, mean": f"{np.mean(alarms):.3f}"}
        cells["  nine of ten series"] = f"{np.quantile(alarms, 0.9):.2f}"
        cells["  low counts, mean"] = f"{np.mean(count_alarms(method, low, threshold)):.2f}" if low else "-"
        hits = find_hits(method, copies, threshold)
        columns[f"{name} {level}".strip()] = {**cells, **describe_hits(hits)}
    for rate in RATES:
        threshold = find_threshold(method, busy, MONTH / rate)
        mean = mean_of_single(find_hits(method, copies, threshold))
        for cells in columns.values():
            cells[f"  at one alarm in {rate} days"] = f"{mean:.1f}"
    return columns


def count_alarms(method: Method, places: Sequence[int], threshold: float) -> list[float]:
    """A month, of each series that was judged for a month at least."""
    rates = []
    for place in places:
        scored = method.scored[place]
        judged = np.isfinite(scored.score[FIRST:])
        if judged.sum() >= MONTH:
            rates.append(MONTH * np.abs(scored.tell(threshold)[FIRST:][judged]).sum() / judged.sum())
    return rates


def find_threshold(method: Method, places: Sequence[int], rate: float) -> float:
    """At which series have so many alarms a month in the mean."""
    low, high = 0.1, 30.0
    for _ in range(16):
        middle = (low + high) / 2
        low, high = (middle, high) if np.mean(count_alarms(method, places, middle)) > rate else (low, middle)
    return high


Hits = dict[tuple[str, int], float]  # percent found, by the kind and within how many days


def find_hits(method: Method, copies: Sequence[Copy], threshold: float) -> Hits:
    by_kind: dict[tuple[str, int], dict[int, list[bool]]] = {}
    for place, scored in method.scored.items():
        if place < len(copies) and copies[place].changes:
            direction = scored.tell(threshold)
            for change in copies[place].changes:
                for within in WITHIN.get(change.kind, (1,)):
                    of_kind = by_kind.setdefault((change.kind, within), {})
                    of_kind.setdefault(copies[place].source, []).append(is_hit(change, direction, within))
    return {key: 100 * float(np.mean([np.mean(hits) for hits in each.values()])) for key, each in by_kind.items()}


def is_hit(change: Change, direction: Days, within: int) -> bool:
    """Whether something on the change's side was told on one of its first days."""
    side = 1 if change.factor > 1 else -1
    return bool(np.any(direction[change.day : change.day + within] == side))


def mean_of_single(hits: Hits) -> float:
    return float(np.mean([hits[kind, 1] for kind in SINGLE_KINDS if (kind, 1) in hits]))


def describe_hits(hits: Hits) -> dict[str, str]:
    cells = {kind: f"{hits[kind, 1]:.1f}" for kind in SINGLE_KINDS if (kind, 1) in hits}
    for kind, days in WITHIN.items():
        cells |= {f"{kind}, by day {day}": f"{hits[kind, day]:.1f}" for day in days if (kind, day) in hits}
    return {**cells, "mean of single days": f"{mean_of_single(hits):.1f}"}


def print_table(columns: Sequence[Mapping[str, Mapping[str, str]]]) -> None:
    shown = {name: cells for each in columns for name, cells in each.items()}
    rows = list(dict.fromkeys(row for cells in shown.values() for row in cells))
    widths = [max(len(name), 6) + 2 for name in shown]
    print(" " * 28 + "".join(f"{name:>{width}}" for name, width in zip(shown, widths, strict=True)))
    for row in rows:
        cells = (f"{cells.get(row, '-'):>{width}}" for cells, width in zip(shown.values(), widths, strict=True))
        print(f"{row:28}" + "".join(cells), flush=True)


def count_differences(ours: Mapping[int, Scored], copies: Sequence[Copy], cut: Sequence[Copy]) -> str:
    whole = {copy.source: ours[place] for place, copy in enumerate(copies) if not copy.changes and place in ours}
    different = compared = 0
    for place, copy in enumerate(cut, start=len(copies)):
        if place in ours:
            score = ours[place].score
            same = np.isclose(score, whole[copy.source].score[: len(score)], atol=NEAR, equal_nan=True)
            different, compared = different + int((~same).sum()), compared + len(same)
    return f"{different:,} of {compared:,}"


def describe_labels(file: Path) -> str:
    """A label and a message are the same if they are a day apart at most."""
    with gzip.open(file, "rt") if file.suffix == ".gz" else file.open() as rows:
        labelled = {(row["series"], row["date"]) for row in csv.DictReader(rows) if float(row["label"]) > 0}
    told = {
        (judged.series.site, judged.first_day + int(day))
        for judged in simulate(file)
        for day in np.flatnonzero(judged.tell(Sensitivity.medium.threshold))
    }
    marked = {(site, int(np.datetime64(date).astype(int))) for site, date in labelled}
    right = sum(any((site, day + off) in marked for off in (-1, 0, 1)) for site, day in told)
    found = sum(any((site, day + off) in told for off in (-1, 0, 1)) for site, day in marked)
    shares = {"precision": right / max(1, len(told)), "recall": found / max(1, len(marked))}
    return f"{file.name}: {len(marked)} labelled days, {len(told)} messages, {json.dumps(shares)}"


def print_holidays(files: Sequence[Path], country: str) -> None:
    """Messages a month of 30 such days, at medium sensitivity."""
    print(f"{'alarms a month':28}{'holidays':>10}{'beside them':>13}{'other days':>12}   holidays of {country}")
    for label, settings in (("country unknown", ()), ("country known", (f"data.country=[{country}]",))):
        told, counted = np.zeros(3), np.zeros(3)
        for file in files:
            for judged in simulate(file, *settings):
                judgeable = np.isfinite(judged.score)
                places = place_days(country, range(judged.first_day, judged.first_day + len(judged.score)))[judgeable]
                direction = judged.tell(Sensitivity.medium.threshold)[judgeable]
                counted += np.bincount(places, minlength=3)
                told += np.bincount(places, np.abs(direction), minlength=3)
        rates = MONTH * told / np.maximum(counted, 1)
        print(f"{label:28}{rates[2]:10.2f}{rates[1]:13.2f}{rates[0]:12.2f}", flush=True)


def place_days(country: str, days: range) -> Days:
    """2 for a public holiday, 1 for a day beside one, 0 for others."""
    places = np.zeros(len(days), np.int64)
    for day, name in name_days(country, days).items():
        if not name.startswith(SCHOOL):
            places[day - days.start] = 1 if name.startswith((BEFORE, AFTER)) else 2
    return places


if __name__ == "__main__":
    main()
