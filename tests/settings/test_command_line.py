"""Help: a command's own flags with three examples, in 80 columns; every setting only where it is asked for."""

from types import ModuleType

import pytest

from forecasting.commands import (
    alerts,
    anomalies,
    backtest,
    daily,
    demo,
    entry_point,
    export,
    forecast,
    models,
    pretrain,
    serve,
    sources,
    train,
)

COMMANDS = (train, serve, forecast, daily, backtest, alerts, anomalies, export, models, sources, pretrain, demo)


def show(command: ModuleType, flag: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    with pytest.raises(SystemExit) as end:
        command.COMMAND.parse([flag])
    assert end.value.code == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_short_and_has_three_examples(command: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    lines = show(command, "--help", capsys)
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 60
    started = f"  traffic-forecast {command.COMMAND.name}"
    assert len([line for line in lines if line.startswith(started)]) == 3
    text = "\n".join(lines)
    assert "guard." not in text
    assert "serving.deadline_seconds" not in text


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_can_be_run(command: ModuleType) -> None:
    assert [
        arguments for arguments, _ in command.COMMAND.examples if not command.COMMAND.parse(arguments.split())
    ] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_all_settings_are_shown_where_they_are_asked_for(
    command: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    short, whole = (show(command, flag, capsys) for flag in ("--help", "--help-all"))
    assert whole[: len(short)] == short
    assert max(map(len, whole)) <= 80
    assert {"  serving.deadline_seconds", "  guard.max_connections", "  model_dir"} <= set(whole)
    own = {line.strip().partition(".")[0] for line in whole if line.startswith(("  backtest.", "  pretraining."))}
    assert own == ({command.COMMAND.section} & {"backtest", "pretraining"})


def test_every_command_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(entry_point.COMMANDS) == {command.COMMAND.name for command in COMMANDS}
    text = entry_point.describe_commands()
    assert all(f"  {name} " in text for name in entry_point.COMMANDS)


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ("--epcohs", "there is no flag --epcohs. Did you mean --epochs?"),
        ("--sequence_length=7", "there is no flag --sequence_length. Did you mean --sequence-length?"),
        ("--xyzzy", "there is no flag --xyzzy. --help lists them all."),
        ("-q", "there is no flag -q. --help lists them all."),
    ],
)
def test_flag_that_is_unknown_is_refused(argument: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        train.COMMAND.parse([argument, "3"])
    assert end.value.code == 2
    assert capsys.readouterr().err.endswith(f": error: {text}\n")
