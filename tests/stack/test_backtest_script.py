"""scripts/backtest.py as people run it: on the database and on a file, and what it refuses."""

import gzip
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scripts.bench.harness import Place

from .conftest import QUICK
from .forking import run_forked


@pytest.fixture(scope="session")
def traffic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sites with a weekly shape, one of which ends earlier and lacks days; 120 days, packed."""
    random = np.random.default_rng(0)
    days = pd.date_range("2024-01-01", periods=120)
    frames = []
    for site, level in (("blog", 300), ("shop", 2000)):
        shape = np.where(np.arange(120) % 7 < 5, 1.0, 0.5) * np.exp(0.1 * random.normal(size=120))
        values = np.round(level * shape)
        frames.append(pd.DataFrame({"series": site, "metric": "page_visits", "date": days, "value": values}))
    frame = pd.concat(frames)
    lacking = (frame["series"] == "shop") & (
        (frame["date"] > "2024-04-20") | frame["date"].between("2024-04-10", "2024-04-11")
    )
    file = tmp_path_factory.mktemp("traffic") / "traffic.csv.gz"
    file.write_bytes(gzip.compress(frame[~lacking].to_csv(index=False).encode()))
    return file


def test_version_on_the_database(place: Place, sample: dict[str, np.ndarray], tmp_path: Path) -> None:
    plot, out = tmp_path / "plot.png", tmp_path / "out.csv"
    result = place.run(
        "backtest.py", "--model", "v1.10", "--origins", "3", "--history", "90", "--out", str(out), "--plot", str(plot)
    )
    assert result.returncode == 0, result.stderr
    assert "read 4 series, 2014-09-14..2020-08-19\n" in result.stdout
    assert "v1.10 was trained on days until 2020-08-19: up to then the backtest is not of unseen days" in (
        result.stdout
    )
    assert "12 forecasts of 7 days\n" in result.stdout
    assert re.search(r"^v1\.10 +\d\.\d{3} +\d+\.\d% +\d\.\d{3} ", result.stdout, re.MULTILINE)
    assert re.search(r"^seasonal naive +\d\.\d{3} +\d+\.\d% +1\.000 +0 ", result.stdout, re.MULTILINE)
    assert plot.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    frame = pd.read_csv(out)
    assert len(frame) == 4 * 3 * 7
    assert frame["date"].max() == "2020-08-19"
    for metric, group in frame.groupby("metric"):
        np.testing.assert_array_equal(group["value"][:-1], sample[str(metric)][-21:-1])
        assert np.isnan(group["value"].iloc[-1])  # a day that was counted in part is no truth to compare with


def test_version_forecasts_what_the_service_does(place: Place, tmp_path: Path) -> None:
    """A file that ends a horizon before its data does: the same days by PredictionService's own model."""
    from forecasting.artifact import load_artifact

    out = tmp_path / "out.csv"
    result = run_forked(
        place, "backtest.py", "--model", "v1.10", "--origins", "1", "--out", str(out), "data.metrics=page_visits"
    )
    assert result.returncode == 0, result.stderr
    frame = pd.read_csv(out)
    import torch

    from forecasting.domain import to_day

    artifact = load_artifact(place.store, "v1.10")
    (series,) = [series for series in artifact.card.series if series.metric == "page_visits"]
    cutoff = pd.Timestamp(frame["cutoff"][0]).date()
    values = _sample_values("page_visits")
    context, days = artifact.card.context_length, artifact.card.output_days
    history = torch.tensor(values[-7 - context : -7], dtype=torch.float32)[None]
    with torch.no_grad():
        alone = artifact.load_program()(
            history,
            torch.tensor([to_day(cutoff) + 1 - context]),
            torch.tensor([0]),
            torch.tensor([series.band_scale[:days]]),
        )[0, :7]
    np.testing.assert_allclose(frame[["q05", "q10", "q25", "q50", "q75", "q90", "q95"]], alone.numpy(), rtol=1e-5)


def _sample_values(metric: str) -> list[float]:
    file = Path(__file__).resolve().parents[2] / "forecasting" / "warehouse" / "sample" / "daily_metrics.csv.gz"
    return pd.read_csv(file).sort_values("date")[metric].tolist()


def test_fine_tuning_on_a_file(empty_place: Place, traffic: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    arguments = ["--csv", str(traffic), "--model", "fine-tune", "--origins", "4", "--step", "5", "--refit", "7"]
    result = run_forked(empty_place, "backtest.py", *arguments, "--horizon", "10", "--out", str(out), *QUICK)
    assert result.returncode == 0, result.stderr
    assert "fitted on the days until 2024-04-02, 2 of 4\n" in result.stdout
    assert re.search(r"^fine-tuned +\d", result.stdout, re.MULTILINE)
    frame = pd.read_csv(out)
    assert len(frame) == 2 * 4 * 10
    assert frame.groupby("series")["date"].max().to_dict() == {"blog": "2024-04-29", "shop": "2024-04-20"}
    shop = frame[(frame["series"] == "shop") & frame["date"].isin(["2024-04-10", "2024-04-11"])]
    assert len(shop) > 0
    assert (shop["value"] == 0).all()
    assert (empty_place.store / "backtest.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--csv", "no.csv"], 1, "error: There is no file no.csv. Check the path.\n"),
        (["--origins", "0"], 2, "error: backtest.origins (--origins) is 0; it must be at least 1.\n"),
        (
            ["--model", "v9", "--csv", "{traffic}"],
            1,
            "error: There is no version v9 in {store} (there: none). "
            "Train it: python scripts/train.py --model-version v9\n",
        ),
        (["--horizon", "31"], 2, "error: backtest.days_ahead (--days-ahead) is 31; it must be 1 to 30.\n"),
    ],
)
def test_refusals(empty_place: Place, traffic: Path, arguments: list[str], code: int, text: str) -> None:
    names = {"traffic": traffic, "store": empty_place.store}
    result = run_forked(empty_place, "backtest.py", *(argument.format(**names) for argument in arguments))
    assert (result.returncode, result.stderr) == (code, text.format(**names))
