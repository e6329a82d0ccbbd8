"""What is given explicitly wins, or is refused: over what a version remembers, and given twice."""

import dataclasses
import logging
from pathlib import Path

import pytest

from forecasting.artifact import Artifact
from forecasting.card import Card, restore_settings
from forecasting.commands import backtest, forecast, pretrain, serve, train
from forecasting.domain import Missing, SourceName
from forecasting.errors import SettingError
from forecasting.settings.loading import load_config
from forecasting.settings.schema import ProcessConfig


@pytest.fixture(scope="module")
def card(sample_artifact: Artifact) -> Card:
    """Trained on a file, in Berlin."""
    stored = {"source": "csv", "csv": "/old/traffic.csv", "missing": "zero", "timezone": "Europe/Berlin"}
    data = {**sample_artifact.card.data, **stored, "verdicts": {"partial_hours": 6}}
    return dataclasses.replace(sample_artifact.card, version="v1", data=data)


def test_version_remembers_where_its_days_come_from(card: Card) -> None:
    data = restore_settings(card, load_config(environ={})).data
    assert (data.source, data.csv, data.timezone) == (SourceName.csv, Path("/old/traffic.csv"), "Europe/Berlin")


def test_explicit_settings_win_and_are_reported(card: Card, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("data: {timezone: Asia/Tokyo}\nverdicts: {partial_hours: 9}\n")
    settings = ["data.source=csv", "data.csv=/new/traffic.csv", "data.missing=mask"]
    with caplog.at_level(logging.INFO, "forecasting"):
        restored = restore_settings(card, load_config(settings, files=[file], environ={}))
    data = restored.data
    assert (data.csv, data.timezone, data.missing) == (Path("/new/traffic.csv"), "Asia/Tokyo", Missing.mask)
    assert (data.source, restored.verdicts.partial_hours) == (SourceName.csv, 9)
    assert caplog.messages == [
        "data.csv is /new/traffic.csv, from the command line; version v1 was trained with /old/traffic.csv",
        "data.missing is mask, from the command line; version v1 was trained with zero",
        f"data.timezone is Asia/Tokyo, from {file}; version v1 was trained with Europe/Berlin",
        f"verdicts.partial_hours is 9, from {file}; version v1 was trained with 6",
    ]


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        (
            "data.source=umami",
            "data.source (--source) is umami in the command line, but version v1 was trained on csv. Leave it out, or "
            "choose a version trained on umami with --model-version.",
        ),
        (
            "metrics.page_visits.kind=other",
            "metrics.page_visits.kind is other in the command line, but version v1 was trained with count. Leave it "
            "out, or train again.",
        ),
        (
            "data.query=my.sql",
            "data.query (the command line) names a file, which only data.source=query reads, but data.source is csv. "
            "Add --source query, or leave data.query out.",
        ),
    ],
)
def test_explicit_setting_that_the_version_cannot_follow_is_refused(card: Card, setting: str, text: str) -> None:
    with pytest.raises(SettingError) as refusal:
        restore_settings(card, load_config([setting], environ={}))
    assert str(refusal.value) == text


def test_serving_and_forecasting_leave_the_source_to_the_version() -> None:
    for command in (serve, forecast):
        config, _ = command.COMMAND.parse(["data.csv=traffic.csv"])
        assert config.data.csv == Path("traffic.csv")


def test_file_that_the_source_does_not_read_is_refused() -> None:
    with pytest.raises(SettingError) as refusal:
        train.COMMAND.parse(["data.csv=traffic.csv"])
    assert str(refusal.value) == (
        "data.csv (the command line) names a file, which only data.source=csv reads, but data.source is siteanalytics. "
        "Add --source csv, or leave data.csv out."
    )


def test_repeated_flag_of_a_list_keeps_every_value() -> None:
    config, _ = train.COMMAND.parse(["--metric", "a", "--metric", "b,c", "--site", "x", "--site", "y"])
    assert (config.data.metrics, config.data.sites) == (["a", "b", "c"], ["x", "y"])
    config, _ = pretrain.COMMAND.parse(["--real", "a.csv", "--real", "b.csv"])
    assert config.pretraining.real == ["a.csv", "b.csv"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ["--metric", "a", "data.metrics=b"],
            "data.metrics is given twice: --metric a and data.metrics=b. Keep one of them.",
        ),
        (
            ["--horizon", "3", "backtest.days_ahead=4"],
            "backtest.days_ahead is given twice: --days-ahead 3 and backtest.days_ahead=4. Keep one of them.",
        ),
        (
            ["data.metrics=a", "data.metrics=b"],
            "data.metrics is given twice: data.metrics=a and data.metrics=b. Write data.metrics=a,b.",
        ),
    ],
)
def test_setting_given_twice_is_refused(arguments: list[str], text: str) -> None:
    with pytest.raises(SettingError) as refusal:
        backtest.COMMAND.parse(arguments)
    assert str(refusal.value) == text


@pytest.mark.parametrize(
    ("environ", "variable"),
    [
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "2"}, "SLURM_NTASKS"),
        ({"SLURM_STEP_NUM_TASKS": "4", "SLURM_NTASKS": "8"}, "SLURM_STEP_NUM_TASKS"),
        ({"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "2"}, "SLURM_STEP_NUM_TASKS"),
        ({"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "0"}, "OMPI_COMM_WORLD_SIZE"),
    ],
)
def test_several_processes_without_torchrun_are_refused(
    environ: dict[str, str], variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingError) as refusal:
        train.main([f"model_dir={tmp_path}"])
    assert str(refusal.value) == (
        f"Training was started as 4 processes ({variable}=4), but neither by torchrun nor by srun --ntasks-per-node N: "
        "each would work alone and write the same files. Start it with one of these."
    )
    assert list(tmp_path.iterdir()) == []


def test_processes_of_srun_know_each_other() -> None:
    environ = {
        "SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "8", "SLURM_NTASKS_PER_NODE": "4", "SLURM_PROCID": "5",
        "SLURM_LOCALID": "1",
    }  # fmt: skip
    process = load_config(environ=environ).process
    assert process == ProcessConfig(rank=5, world_size=8, local_rank=1, local_world_size=4, is_srun=True)
    assert process.num_nodes == 2
    process.refuse_other_launchers("Training")
    alone = environ | {"SLURM_NTASKS": "1", "SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS_PER_NODE": "1"}
    assert not load_config(environ={**alone, "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}).process.is_srun


@pytest.mark.parametrize(
    "environ",
    [
        {"SLURM_NTASKS": "1"},
        {"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "1"},
        {"SLURM_NTASKS": "2", "RANK": "0", "WORLD_SIZE": "4", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"},
    ],
)
def test_one_process_or_torchrun_is_allowed_under_slurm(environ: dict[str, str]) -> None:
    load_config(environ=environ).process.refuse_other_launchers("Training")
