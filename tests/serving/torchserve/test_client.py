"""What the client makes of the real TorchServe's answers, its silence, and the death of its parts."""

import asyncio
import importlib.util
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
from forecasting.domain import Kind
from forecasting.errors import BadAnswer, TimedOut, Unavailable
from forecasting.model.forecaster import Forecaster
from forecasting.predictor import Window, stack_windows
from forecasting.serving.torchserve.archive import HANDLER, ROLLOUT, ensure_archive
from forecasting.serving.torchserve.client import TorchServeClient
from forecasting.serving.torchserve.process import TorchServe
from forecasting.serving.torchserve.startup import start_torchserve
from forecasting.settings.schema import ServingConfig
from tests.serving.asking import (
    ONES,
    VERSION,
    as_request,
    ask,
    find_trouble,
    group_of,
    is_alive,
    make_instances,
    on_day,
    spoil_handler,
    workers_of,
)
from tests.waiting import becomes

with warnings.catch_warnings():
    warnings.simplefilter("ignore", ResourceWarning)  # ts 0.12 leaves the file with its version open
    from ts.context import Context, RequestProcessor


def as_tensors(instances: list[Window]) -> tuple[torch.Tensor, ...]:
    numbers = {Kind.count: 0, Kind.rate: 1, Kind.other: 2}
    return (
        torch.from_numpy(np.stack([one.history for one in instances])),
        torch.tensor([one.first_day for one in instances]),
        torch.tensor([numbers[one.kind] for one in instances]),
        torch.from_numpy(np.stack([one.band_scale[:7] for one in instances])),
    )


def test_forecaster_program_handler_and_http_agree(
    torchserve: TorchServe, untrained: Forecaster, untrained_artifact: Artifact
) -> None:
    instances = make_instances()
    with torch.no_grad():
        expected = untrained(*as_tensors(instances)).numpy()
        program = untrained_artifact.load_program()(*as_tensors(instances)).numpy()
    assert len(np.unique(expected)) > 100
    np.testing.assert_allclose(program, expected, rtol=1e-6)
    np.testing.assert_allclose(ask_handler(untrained_artifact, instances), expected, rtol=1e-6)
    served = ask(torchserve, instances)
    assert served.dtype == np.float32
    np.testing.assert_allclose(served, expected, rtol=1e-6)


def ask_handler(artifact: Artifact, instances: list[Window]) -> np.ndarray:
    spec = importlib.util.spec_from_file_location("forecast_handler", HANDLER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as paths:
        paths.syspath_prepend(str(ROLLOUT.parent))
        spec.loader.exec_module(module)
    context = Context("forecaster", str(artifact.folder), {}, 32, None, "0.12.0")
    handler = module.ForecastHandler()
    handler.initialize(context)
    context.request_processor = [RequestProcessor({})]
    [answer] = handler.handle([{"body": json.dumps(as_request(instances)).encode()}], context)
    return np.array(json.loads(answer)["quantiles"], dtype=np.float32)


def test_many_clients_get_each_their_own_answer(torchserve: TorchServe) -> None:
    instances = make_instances(64)
    together = ask(torchserve, instances)

    async def run() -> list[np.ndarray]:
        async with TorchServeClient(torchserve.inference_url, VERSION, torchserve.key_file, 10.0) as client:
            return await asyncio.gather(*(client.predict([one], 7) for one in instances))

    np.testing.assert_allclose(np.concatenate(asyncio.run(run())), together, rtol=1e-5)


def test_bad_request_among_good_ones_is_refused_alone(torchserve: TorchServe) -> None:
    async def run() -> list[Any]:
        async with TorchServeClient(torchserve.inference_url, VERSION, torchserve.key_file, 10.0) as client:
            requests = [on_day("2024-01-01", 55 if index == 9 else 56) for index in range(20)]
            return await asyncio.gather(*(client.predict([one], 7) for one in requests), return_exceptions=True)

    answers = asyncio.run(run())
    assert isinstance(answers[9], BadAnswer)
    assert str(answers[9]) == ("The handler refused (400): instances[0].history has 55 values; it must have 56.")
    assert all(answer.shape == (1, 7, 7) for index, answer in enumerate(answers) if index != 9)


@pytest.mark.parametrize("days", [1, 8, 30])
def test_thirty_days_are_one_request_and_those_of_the_program(
    torchserve: TorchServe, untrained_artifact: Artifact, days: int
) -> None:
    windows = make_instances()
    expected = untrained_artifact.load_predictor().predict(stack_windows(windows, days))
    np.testing.assert_allclose(ask(torchserve, windows, days=days), expected, rtol=1e-5)


def test_clients_that_want_differently_many_days_get_theirs(torchserve: TorchServe) -> None:
    windows = make_instances(12)
    days = [1, 30, 7, 8, 14, 3, 21, 30, 29, 7, 22, 2]

    async def run() -> list[np.ndarray]:
        async with TorchServeClient(torchserve.inference_url, VERSION, torchserve.key_file, 10.0) as client:
            return await asyncio.gather(*(client.predict([one], d) for one, d in zip(windows, days, strict=True)))

    month = ask(torchserve, windows, days=30)
    for answer, one, wanted in zip(asyncio.run(run()), month, days, strict=True):
        np.testing.assert_allclose(answer[0], one[:wanted], rtol=1e-5)


def test_ready_one_has_no_trouble(torchserve: TorchServe) -> None:
    assert find_trouble(torchserve) is None


def test_thousands_of_series_go_out_in_parts(torchserve: TorchServe) -> None:
    """All in one would be more than the 4 MiB that TorchServe takes; each gets its own answer."""
    histories = np.random.default_rng(0).uniform(0, 1, (8000, 56)).astype(np.float32)
    instances = [Window(history, 19000, Kind.count, ONES) for history in histories]
    together = ask(torchserve, instances)
    assert together.shape == (8000, 7, 7)
    for index in (0, 255, 256, 7999):
        np.testing.assert_allclose(together[index], ask(torchserve, [instances[index]])[0], rtol=1e-5)


def test_other_version_is_a_bad_answer(torchserve: TorchServe) -> None:
    with pytest.raises(BadAnswer) as error:
        ask(torchserve, make_instances(1), version="v9")
    assert str(error.value) == "TorchServe answered 404: Model version: v9 does not exist for model: forecaster"


def test_key_that_changed_is_read_again(torchserve: TorchServe, tmp_path: Path) -> None:
    key_file = tmp_path / "key_file.json"
    key_file.write_text(json.dumps({"inference": {"key": "old"}}))

    async def run() -> tuple[str | None, np.ndarray]:
        async with TorchServeClient(torchserve.inference_url, VERSION, key_file, 10.0) as client:
            trouble = await client.find_trouble()
            shutil.copy(torchserve.key_file, key_file)
            return trouble, await client.predict(make_instances(1), 7)

    trouble, answer = asyncio.run(run())
    assert trouble == (
        "TorchServe answered 400: Token Authorization failed. "
        "Token either incorrect, expired, or not provided correctly"
    )
    assert answer.shape == (1, 7, 7)


def test_silence_ends_at_the_deadline(torchserve: TorchServe) -> None:
    workers = workers_of(torchserve)
    assert len(workers) == 2
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(TimedOut) as error:
            ask(torchserve, make_instances(1), seconds=0.5)
        assert time.monotonic() - began < 30  # a busy machine is slow; without the deadline it would take minutes
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
    assert str(error.value) == "TorchServe gave no answer within 0.5 s (serving.deadline_seconds)."
    assert becomes(lambda: find_trouble(torchserve) is None)


def test_killed_worker_costs_no_answer(torchserve: TorchServe) -> None:
    instances = make_instances(3)
    expected = ask(torchserve, instances)

    async def run() -> list[np.ndarray]:
        async with TorchServeClient(torchserve.inference_url, VERSION, torchserve.key_file, 10.0) as client:
            answers = []
            for index in range(100):
                if index == 20:
                    os.kill(killed, signal.SIGKILL)
                answers.append(await client.predict(instances, 7))
            return answers

    killed = workers_of(torchserve)[0]
    for answer in asyncio.run(run()):
        np.testing.assert_allclose(answer, expected, rtol=1e-6)
    assert becomes(lambda: len(set(workers_of(torchserve)) - {killed}) == 2)
    assert find_trouble(torchserve) is None


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
    """A TorchServe whose handler fails in a way that a request's first day chooses."""
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
            "TorchServe's answer is no forecast "
            "(JSONDecodeError('unexpected end of data: line 1 column 43 (char 42)')): "
            '{"model_version": "v1.10", "quantiles": [[',
        ),
        ("1999-01-04", "TorchServe answered 1 x 2 numbers to 1 series and 7 days; finite quantiles are needed."),
        ("1999-01-05", "TorchServe answered with version v0, not v1.10."),
        ("1999-01-06", "TorchServe answered 1 x 1 x 1 numbers to 1 series and 7 days; finite quantiles are needed."),
    ],
)
def test_what_no_forecast_can_be_is_a_bad_answer(faulty: TorchServe, day: str, text: str) -> None:
    with pytest.raises(BadAnswer) as error:
        ask(faulty, [on_day(day)])
    assert str(error.value) == text


@pytest.mark.parametrize("day", ["1999-01-07", "1999-01-08"])
def test_failure_that_passes_is_not_seen(faulty: TorchServe, day: str) -> None:
    """The handler raises, or its only worker dies, at the first try alone."""
    assert ask(faulty, [on_day(day)]).shape == (1, 7, 7)


def test_worker_that_always_dies_is_unavailable(faulty: TorchServe) -> None:
    with pytest.raises(Unavailable) as error:
        ask(faulty, [on_day("1999-01-02")])
    assert str(error.value).endswith(": Worker died. A new worker stands within seconds.")
    assert becomes(lambda: find_trouble(faulty) is None)


def test_killed_java_is_noticed_at_once(untrained_artifact: Artifact, free_ports: ServingConfig) -> None:
    with start_torchserve(ensure_archive(untrained_artifact), VERSION, free_ports) as server:
        pids = group_of(server.process.pid)
        assert len(pids) == 2

        async def run() -> Unavailable:
            async with TorchServeClient(server.inference_url, VERSION, server.key_file, 10.0) as client:
                await client.predict(make_instances(1), 7)
                os.kill(server.process.pid, signal.SIGKILL)
                with pytest.raises(Unavailable) as error:
                    await client.predict(make_instances(1), 7)
                return error.value

        error = asyncio.run(run())  # not TimedOut, which it would be at the deadline
        assert becomes(lambda: not server.is_running())
        trouble = find_trouble(server)
        assert trouble == (
            f"Nobody listens at {server.inference_url}/predictions/forecaster/v1.10: TorchServe is not running."
        )
        assert str(error).startswith(("Nobody listens at", "TorchServe broke the connection off"))
    assert not [pid for pid in pids if is_alive(pid)]
