"""Forecasts for bench_accuracy.py, made in a process of its own so that another checkout's code can make them.

Reads a plan (JSON) and writes an .npz file for each of its runs: quantiles by origin, and the total of the first week.
"""

import datetime as dt
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from forecasting import artifact
from forecasting.card import describe_series_card, make_windows
from forecasting.commands.backtest import COMMAND, read
from forecasting.evaluation.rolling_origins import Rolling, roll
from forecasting.model.forecaster import LEVELS
from forecasting.predictor import Predictor, usual_bands
from forecasting.serving.responses import write_responses
from forecasting.training.forecasters import forecast_fine_tuned

AT_ONCE = 4096
WEEK = 7


def main() -> None:
    plan = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(1)
    base = Path(plan["base"]) if plan["base"] else None
    predictor = artifact.forecaster_predictor("base", artifact.load_base(*([base] if base else [])))
    for run in plan["runs"]:
        config, _ = COMMAND.parse(run["arguments"])
        rolling = roll(read(config), config.backtest)
        if run["fine_tuned"]:
            quantiles = forecast_fine_tuned(rolling, config).quantiles
        else:
            quantiles = forecast(rolling, predictor, share_of_last_day=run["share_of_last_day"])
        totals = sum_up(rolling, quantiles) if run["totals"] else np.empty((0, 3))
        np.savez(run["out"], quantiles=quantiles, totals=totals)
        print(run["label"], file=sys.stderr, flush=True)


def forecast(rolling: Rolling, predictor: Predictor, *, share_of_last_day: float) -> np.ndarray:
    parts = []
    cards = [describe_series_card(series, usual_bands(predictor.horizon)) for series in rolling.panel.series]
    for start in range(0, len(rolling.rows), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        history = rolling.histories(part, predictor.context_length)
        history[:, -1] *= share_of_last_day
        first_day = rolling.cutoffs[part] + rolling.panel.first_day + 1 - predictor.context_length
        own = [cards[row] for row in rolling.rows[part]]
        parts.append(predictor.predict(make_windows(own, history, first_day, days_ahead=rolling.days_ahead)))
    return np.concatenate(parts)


def sum_up(rolling: Rolling, quantiles: np.ndarray) -> np.ndarray:
    """Value, lower and upper end of the first week's total, as answers have them; NaN where days do not add up."""
    cards = [describe_series_card(rolling.panel.series[row], usual_bands(WEEK)) for row in rolling.rows]
    version: Any = SimpleNamespace(levels=LEVELS, version="base")  # Any: answers read these two alone
    cutoffs = (rolling.panel.first_day + rolling.cutoffs).tolist()
    answers = write_responses(quantiles[:, :WEEK], cards, cutoffs, version, made_at=dt.datetime.now(dt.UTC))
    nothing = dict.fromkeys(("value", "lower", "upper"), np.nan)
    return np.array([list((answer["total"] or nothing).values()) for answer in answers], np.float64)


if __name__ == "__main__":
    main()
