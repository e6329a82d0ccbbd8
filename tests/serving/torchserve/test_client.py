"""The client with the real TorchServe: forecasts, failures, silence, and killed processes."""

import asyncio
import json
import os
import shutil
import signal
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from forecasting.artifact import Artifact
from forecasting.domain import RECENT_DAYS, YEAR_OF_DAYS, Kind
from forecasting.errors import BadAnswer, TimedOut, Unavailable
from forecasting.model.forecaster import Forecaster
from forecasting.predictor import Window, stack_windows
from forecasting.serving.torchserve.archive import HANDLER, ROLLOUT, ensure_archive
from forecasting.serving.torchserve.client import TorchServeClient
from forecasting.serving.torchserve.process import TorchServe
from forecasting.serving.torchserve.startup import start_torchserve
from forecasting.settings.schema import ModelConfig, ServingConfig
from scripts.bench.harness import PATIENCE_SECONDS
from tests.loading import load_file
from tests.serving.torchserve.faulty_handler import spoil_handler
from tests.serving.torchserve.processes import find_workers, is_alive, list_group
from tests.serving.torchserve.requests import (
    ONES,
    VERSION,
    as_request,
    find_problem,
    make_window_from,
    make_windows,
    predict,
)
from tests.waiting import becomes

with warnings.catch_warnings():
    warnings.simplefilter("ignore", ResourceWarning)  # ts 0.12 leaves the file with its version open
    from ts.context import Context, RequestProcessor


def as_tensors(windows: list[Window]) -> tuple[torch.Tensor, ...]:
    numbers = {Kind.count: 0, Kind.rate: 1, Kind.other: 2}
    return (
        torch.from_numpy(np.stack([window.history for window in windows])),
        torch.tensor([window.first_day for window in windows]),
        torch.tensor([numbers[window.kind] for window in windows]),
        torch.from_numpy(np.stack([window.band_scale[: ModelConfig().output_days] for window in windows])),
    )


def test_a_client_that_was_closed_says_so(untrained_artifact: Artifact, tmp_path: Path) -> None:
    """As for requests that come while the server stops."""

    async def ask() -> str:
        client = TorchServeClient("http://127.0.0.1:1", VERSION, tmp_path / "keys", 5.0)
        await client.close()
        with pytest.raises(Unavailable) as caught:
            await client.predict(make_windows(), 7)
        return str(caught.value)

    assert asyncio.run(ask()) == "This server is stopping. Send the request again to the next one."


def test_forecaster_program_handler_and_http_agree(
    torchserve: TorchServe, untrained: Forecaster, untrained_artifact: Artifact
) -> None:
    windows = make_windows()
    with torch.no_grad():
        expected = untrained(*as_tensors(windows))[:, :7].numpy()
        program = untrained_artifact.load_program()(*as_tensors(windows))[:, :7].numpy()
    assert len(np.unique(expected)) > 100
    np.testing.assert_allclose(program, expected, rtol=1e-6)
    np.testing.assert_allclose(ask_handler(untrained_artifact, windows), expected, rtol=1e-6)
    served = predict(torchserve, windows)
    assert served.dtype == np.float32
    np.testing.assert_allclose(served, expected, rtol=1e-6)


def ask_handler(artifact: Artifact, windows: list[Window]) -> np.ndarray:
    module = load_file(HANDLER, beside=ROLLOUT.parent)
    context = Context("forecaster", str(artifact.folder), {}, 32, None, "0.12.0")
    handler = module.ForecastHandler()
    handler.initialize(context)
    context.request_processor = [RequestProcessor({})]
    [answer] = handler.handle([{"body": json.dumps(as_request(windows)).encode()}], context)
    return np.array(json.loads(answer)["quantiles"], dtype=np.float32)


def test_many_clients_get_each_their_own_answer(torchserve: TorchServe) -> None:
    windows = make_windows(64)
    together = predict(torchserve, windows)

    async def run() -> list[np.ndarray]:
        async with TorchServeClient(torchserve.inference_url, VERSION, torchserve.key_file, PATIENCE_SECONDS) as client:
            return await asyncio.gather(*(client.predict([window], 7) for window in windows))

    np.testing.assert_allclose(np.concatenate(asyncio.run(run())), together, rtol=1e-5)


def test_bad_request_among_good_ones_is_refused_alone(torchserve: TorchServe) -> None:
    async def run() -> list[Any]:
        async with TorchServeClient(torchserve.inference_url, VERSION, torchserve.key_file, PATIENCE_SECONDS) as client:
            requests = [make_window_from("2024-01-01", YEAR_OF_DAYS + (index == 9)) for index in range(20)]
            return await asyncio.gather(*(client.predict([window], 7) for window in requests), return_exceptions=True)

    answers = asyncio.run(run())
    assert isinstance(answers[9], BadAnswer)
    assert str(answers[9]) == (
        "The handler refused the request (400): instances[0].history has 393 values; it must have 56 to 392."
    )
    assert all(answer.shape == (1, 7, 7) for index, answer in enumerate(answers) if index != 9)


@pytest.mark.parametrize("days", [1, 8, 30])
def test_thirty_days_are_one_request_and_those_of_the_program(
    torchserve: TorchServe, untrained_artifact: Artifact, days: int
) -> None:
    windows = make_windows()
    expected = untrained_artifact.load_predictor().predict(stack_windows(windows, days))
    np.testing.assert_allclose(predict(torchserve, windows, days=days), expected, rtol=1e-5)


def test_clients_that_want_differently_many_days_get_theirs(torchserve: TorchServe) -> None:
    windows = make_windows(12)
    days = [1, 30, 7, 8, 14, 3, 21, 30, 29, 7, 22, 2]

    async def run() -> list[np.ndarray]:
        async with TorchServeClient(torchserve.inference_url, VERSION, torchserve.key_file, PATIENCE_SECONDS) as client:
            return await asyncio.gather(*(client.predict([window], d) for window, d in zip(windows, days, strict=True)))

    month = predict(torchserve, windows, days=30)
    for answer, whole, num_days in zip(asyncio.run(run()), month, days, strict=True):
        np.testing.assert_allclose(answer[0], whole[:num_days], rtol=1e-5)


def test_ready_one_has_no_problem(torchserve: TorchServe) -> None:
    assert find_problem(torchserve) is None


def test_thousands_of_series_go_out_in_parts(torchserve: TorchServe) -> None:
    """One request would exceed the 4 MiB that TorchServe accepts. Each series gets its own forecast."""
    histories = np.full((8000, YEAR_OF_DAYS), np.nan, np.float32)
    histories[:, -RECENT_DAYS:] = np.random.default_rng(0).uniform(0, 1, (8000, RECENT_DAYS))
    windows = [Window(history, 19000, Kind.count, ONES) for history in histories]
    together = predict(torchserve, windows)
    assert together.shape == (8000, 7, 7)
    for index in (0, 255, 256, 7999):
        np.testing.assert_allclose(together[index], predict(torchserve, [windows[index]])[0], rtol=1e-5)


def test_other_version_is_a_bad_answer(torchserve: TorchServe) -> None:
    with pytest.raises(BadAnswer) as error:
        predict(torchserve, make_windows(1), version="v9")
    assert str(error.value) == "TorchServe answered 404: Model version: v9 does not exist for model: forecaster"


def test_key_that_changed_is_read_again(torchserve: TorchServe, tmp_path: Path) -> None:
    key_file = tmp_path / "key_file.json"
    key_file.write_text(json.dumps({"inference": {"key": "old"}}))

    async def run() -> tuple[str | None, np.ndarray]:
        async with TorchServeClient(torchserve.inference_url, VERSION, key_file, PATIENCE_SECONDS) as client:
            problem = await client.find_problem()
            shutil.copy(torchserve.key_file, key_file)
            return problem, await client.predict(make_windows(1), 7)

    problem, answer = asyncio.run(run())
    assert problem == (
        "TorchServe answered 400: Token Authorization failed. "
        "Token either incorrect, expired, or not provided correctly"
    )
    assert answer.shape == (1, 7, 7)


def test_silence_ends_at_the_deadline(torchserve: TorchServe) -> None:
    workers = find_workers(torchserve)
    assert len(workers) == 2
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(TimedOut) as error:
            predict(torchserve, make_windows(1), seconds=0.5)
        assert time.monotonic() - began < 30  # a busy machine is slow; without the deadline it would take minutes
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
    assert str(error.value) == "TorchServe did not answer within 0.5 s (serving.deadline_seconds)."
    assert becomes(lambda: find_problem(torchserve) is None)


def test_killed_worker_costs_no_answer(torchserve: TorchServe) -> None:
    windows = make_windows(3)
    expected = predict(torchserve, windows)

    async def run() -> list[np.ndarray]:
        async with TorchServeClient(torchserve.inference_url, VERSION, torchserve.key_file, PATIENCE_SECONDS) as client:
            answers = []
            for index in range(100):
                if index == 20:
                    os.kill(killed, signal.SIGKILL)
                answers.append(await client.predict(windows, 7))
            return answers

    killed = find_workers(torchserve)[0]
    for answer in asyncio.run(run()):
        np.testing.assert_allclose(answer, expected, rtol=1e-6)
    assert becomes(lambda: len(set(find_workers(torchserve)) - {killed}) == 2)
    assert find_problem(torchserve) is None


FAULTS = {
    "1999-01-01": 'raise KeyError("fault")',
    "1999-01-02": "os._exit(1)",
    "1999-01-03": """return [b'{"model_version": "v1.10", "quantiles": [[']""",
    "1999-01-04": """return [b'{"model_version": "v1.10", "quantiles": [[1.0, 2.0]]}']""",
    "1999-01-05": """return [b'{"model_version": "v0", "quantiles": [[[1.0]]]}']""",
    "1999-01-06": """return [b'{"model_version": "v1.10", "quantiles": [[[null]]]}']""",
    "1999-01-07": 'once("raise") or int("fault")',
    "1999-01-08": 'once("exit") or os._exit(1)',
}


@pytest.fixture(scope="module")
def faulty(
    untrained_artifact: Artifact, free_ports: ServingConfig, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TorchServe]:
    """A TorchServe whose handler fails in the way that a request's first day selects."""
    lines = (f"        if b'{day}' in data[0]['body']: {fault}\n" for day, fault in FAULTS.items())
    target = tmp_path_factory.mktemp("faulty") / "faulty.mar"
    archive = spoil_handler(ensure_archive(untrained_artifact), target, handle="".join(lines))
    with start_torchserve(archive, VERSION, free_ports) as server:
        yield server


@pytest.mark.parametrize(
    ("day", "text"),
    [
        ("1999-01-01", "TorchServe answered 503: Prediction failed (the handler failed; its log says why)"),
        (
            "1999-01-03",
            "TorchServe's answer is not a forecast "
            "(JSONDecodeError('unexpected end of data: line 1 column 43 (char 42)')): "
            '{"model_version": "v1.10", "quantiles": [[',
        ),
        ("1999-01-04", "TorchServe answered 1 x 2 numbers for 1 series and 7 days; finite quantiles are needed."),
        ("1999-01-05", "Version v0 answered in TorchServe, not v1.10."),
        ("1999-01-06", "TorchServe answered 1 x 1 x 1 numbers for 1 series and 7 days; finite quantiles are needed."),
    ],
)
def test_what_no_forecast_can_be_is_a_bad_answer(faulty: TorchServe, day: str, text: str) -> None:
    with pytest.raises(BadAnswer) as error:
        predict(faulty, [make_window_from(day)])
    assert str(error.value) == text


@pytest.mark.parametrize("day", ["1999-01-07", "1999-01-08"])
def test_failure_that_passes_is_not_seen(faulty: TorchServe, day: str) -> None:
    """The handler raises, or its only worker dies, at the first try only."""
    assert predict(faulty, [make_window_from(day)], seconds=120.0).shape == (1, 7, 7)


def test_worker_that_always_dies_is_unavailable(faulty: TorchServe) -> None:
    with pytest.raises(Unavailable) as error:
        predict(faulty, [make_window_from("1999-01-02")], seconds=120.0)  # two workers die and start meanwhile
    assert str(error.value).endswith(": Worker died. A new worker starts within seconds.")
    assert becomes(lambda: find_problem(faulty) is None)


def test_killed_java_is_noticed_at_once(faulty: TorchServe) -> None:
    """The last test of that TorchServe, which answers whoever does not select a failure."""
    assert becomes(lambda: len(list_group(faulty.process.pid)) == 2)
    pids = list_group(faulty.process.pid)

    async def run() -> Unavailable:
        async with TorchServeClient(faulty.inference_url, VERSION, faulty.key_file, PATIENCE_SECONDS) as client:
            await client.predict(make_windows(1), 7)
            os.kill(faulty.process.pid, signal.SIGKILL)
            with pytest.raises(Unavailable) as error:
                await client.predict(make_windows(1), 7)
            return error.value

    error = asyncio.run(run())  # not TimedOut, which it would be at the deadline
    assert becomes(lambda: not faulty.is_running())
    problem = find_problem(faulty)
    assert problem == (
        f"TorchServe is not running: nothing listens at {faulty.inference_url}/predictions/forecaster/v1.10."
    )
    assert str(error).startswith(("TorchServe is not running: nothing listens at", "TorchServe closed the connection"))
    faulty.stop()
    assert not [pid for pid in pids if is_alive(pid)]
