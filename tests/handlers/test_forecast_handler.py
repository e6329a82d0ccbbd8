"""The handler as TorchServe drives it: its own Context, requests in batches, an exported model in a folder."""

import datetime as dt
import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import orjson
import pytest
import torch

from tests.loading import load_file

with warnings.catch_warnings():
    warnings.simplefilter("ignore", ResourceWarning)  # ts 0.12 leaves the file with its version open
    from ts.context import Context, RequestProcessor
    from ts.utils.util import list_classes_from_module

HANDLER = Path(__file__).parents[2] / "handlers" / "forecast_handler.py"
ROLLOUT = HANDLER.parents[1] / "forecasting" / "model"  # where `rollout` is; the archive has it beside the handler
CONTEXT_LENGTH, HORIZON = 56, 7
USUAL = [1.0] * 7 + [1 + day / 20 for day in range(1, 24)]  # band_scale, where a request has none
HISTORY = [100.0 + 10 * (day % 7) for day in range(CONTEXT_LENGTH)]

Handle = Callable[..., list[tuple[int, Any]]]


@pytest.fixture(scope="session")
def module() -> ModuleType:
    return load_file(HANDLER, beside=ROLLOUT)


@pytest.fixture(scope="session")
def model() -> Any:
    from forecasting.model.forecaster import Forecaster
    from forecasting.settings.schema import ModelConfig

    torch.manual_seed(7)
    return Forecaster(ModelConfig(hidden_size=16, direct_days=0, last_year=False)).eval()


@pytest.fixture(scope="session")
def folder(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from forecasting.artifact import export_program
    from forecasting.model.forecaster import LEVELS

    folder = tmp_path_factory.mktemp("model")
    export_program(model, folder / "model.pt2")
    card = {"version": "v1.10", "context_length": CONTEXT_LENGTH, "levels": list(LEVELS), "usual_band_scale": USUAL}
    (folder / "model.json").write_text(json.dumps({**card, "model": {"prediction_horizon": HORIZON}}))
    return folder


def make_context(folder: Path) -> Context:
    return Context("forecaster", str(folder), {}, 32, None, "0.12.0")


@pytest.fixture(scope="session")
def handle(module: ModuleType, folder: Path) -> Handle:
    """(status, answer) of each body."""
    context = make_context(folder)
    handler = module.ForecastHandler()
    handler.initialize(context)

    def run(*bodies: Any) -> list[tuple[int, Any]]:
        context.request_processor = [RequestProcessor({}) for _ in bodies]
        rows = [{"body": body if isinstance(body, bytes) else orjson.dumps(body)} for body in bodies]
        answers = handler.handle(rows, context)
        assert all(context.get_response_content_type(index) == "application/json" for index in range(len(rows)))
        return [(context.get_response_status(index)[0], orjson.loads(answer)) for index, answer in enumerate(answers)]

    return run


def request(**changes: Any) -> dict[str, Any]:
    return {"instances": [{"history": HISTORY, "first_day": "2024-01-01", **changes}]}


def without(key: str) -> dict[str, Any]:
    changed = request()
    del changed["instances"][0][key]
    return changed


def changed_history(index: int, value: Any) -> list[Any]:
    return [*HISTORY[:index], value, *HISTORY[index + 1 :]]


def forward(model: Any, history: list[Any], *, first_day: int, kind: int, band: float = 1.0) -> np.ndarray:
    values = [np.nan if value is None else value for value in history]
    with torch.no_grad():
        quantiles = model(
            torch.tensor([values], dtype=torch.float32),
            torch.tensor([first_day]),
            torch.tensor([kind]),
            torch.full((1, HORIZON), band),
        )
    return np.asarray(quantiles[0])


def test_torchserve_finds_one_class_and_no_function_named_handle(module: ModuleType) -> None:
    assert list_classes_from_module(module) == [module.ForecastHandler]
    assert not hasattr(module, "handle")


def test_handler_imports_torch_orjson_and_the_standard_library_alone() -> None:
    import ast
    import sys

    modules = set()
    for file in (HANDLER, ROLLOUT / "rollout.py"):  # both are in the archive
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                modules.add(str(node.module).partition(".")[0])
    assert modules - sys.stdlib_module_names == {"torch", "orjson", "rollout"}


def test_answer_is_the_forecasters_own(handle: Handle, model: Any) -> None:
    [(status, answer)] = handle(request(band_scale=[1.5] * HORIZON, kind="other"))
    expected = forward(model, HISTORY, first_day=19723, kind=2, band=1.5)  # 2024-01-01 is 1704067200 s of 86400 a day
    assert status == 200
    assert answer["model_version"] == "v1.10"
    np.testing.assert_allclose(answer["quantiles"], expected[None], rtol=1e-6)


def test_each_kind_has_its_number(handle: Handle, model: Any) -> None:
    history = [0.2 + 0.05 * (day % 7) for day in range(CONTEXT_LENGTH)]
    answers = handle(*[request(kind=kind, history=history) for kind in ("count", "rate", "other")])
    expected = [forward(model, history, first_day=19723, kind=number) for number in (0, 1, 2)]
    assert not np.allclose(expected[0], expected[2])
    np.testing.assert_allclose([answer["quantiles"][0] for _, answer in answers], expected, rtol=1e-6)


def test_days_ahead_are_the_predictors(handle: Handle, model: Any) -> None:
    """Requests of one batch may want differently many days; where there is no band_scale, the card's is taken."""
    from forecasting.artifact import forecaster_predictor
    from forecasting.domain import Kind
    from forecasting.predictor import Window, stack_windows

    wide = [2.0 + day / 10 for day in range(30)]
    answers = handle(request() | {"days_ahead": 30}, request(), request(band_scale=wide[:9]) | {"days_ahead": 9})
    assert [np.shape(answer["quantiles"]) for _, answer in answers] == [(1, 30, 7), (1, 7, 7), (1, 9, 7)]
    predictor, history = forecaster_predictor("v1.10", model), np.array(HISTORY, np.float32)
    for (_, answer), days, scale in zip(answers, (30, 7, 9), (USUAL, USUAL, wide), strict=True):
        window = Window(history, 19723, Kind.count, np.array(scale, np.float32))
        expected = predictor.predict(stack_windows([window], days))
        np.testing.assert_allclose(answer["quantiles"], expected, rtol=1e-5)


def test_model_that_forecasts_more_days_than_its_horizon_at_once(module: ModuleType, tmp_path: Path) -> None:
    """Nine days in one pass: seven are answered unless more are asked for, and only those after nine are rolled out.

    It reads a year; a request may have eight weeks of it, or all.
    """
    from forecasting.artifact import export_program, forecaster_predictor
    from forecasting.domain import YEAR_OF_DAYS, Kind
    from forecasting.model.forecaster import LEVELS, Forecaster
    from forecasting.predictor import Window, stack_windows
    from forecasting.settings.schema import ModelConfig

    torch.manual_seed(7)
    settings = ModelConfig(hidden_size=4, direct_days=9)
    forecaster = Forecaster(settings).eval()
    export_program(forecaster, tmp_path / "model.pt2")
    card = {"version": "v2", "context_length": YEAR_OF_DAYS, "levels": list(LEVELS), "usual_band_scale": USUAL}
    model = {"prediction_horizon": HORIZON, "direct_days": 9}
    (tmp_path / "model.json").write_text(json.dumps({**card, "model": model}))
    context = make_context(tmp_path)
    handler = module.ForecastHandler()
    handler.initialize(context)
    long = [50.0 + day % 9 for day in range(YEAR_OF_DAYS - CONTEXT_LENGTH)] + HISTORY
    first_long = str(dt.date(2024, 1, 1) - dt.timedelta(days=YEAR_OF_DAYS - CONTEXT_LENGTH))
    bodies = [
        request(),
        {**request(), "days_ahead": 12},
        {**request(history=long, first_day=first_long), "days_ahead": 12},
        request(history=[*long, 1.0]),
    ]
    context.request_processor = [RequestProcessor({}) for _ in bodies]
    answers = [
        orjson.loads(answer) for answer in handler.handle([{"body": orjson.dumps(body)} for body in bodies], context)
    ]
    young, old = (
        forecaster_predictor("v2", forecaster).predict(stack_windows([window], 12))
        for history in ([np.nan] * (YEAR_OF_DAYS - CONTEXT_LENGTH) + HISTORY, long)
        for window in [Window(np.array(history, np.float32), 19387, Kind.count, np.array(USUAL, np.float32))]
    )
    usual, more, with_year = (np.array(answer["quantiles"]) for answer in answers[:3])
    assert usual.shape == (1, HORIZON, len(LEVELS))
    np.testing.assert_allclose(usual, young[:, :HORIZON], rtol=1e-5)
    np.testing.assert_allclose(more, young, rtol=1e-5)
    np.testing.assert_allclose(with_year, old, rtol=1e-5)
    assert not np.allclose(young, old, rtol=1e-3)
    assert answers[3]["detail"] == "instances[0].history has 393 values; it must have 56 to 392."


def test_effects_of_known_days_are_the_predictors(handle: Handle, model: Any) -> None:
    """Beside a request without any, which they do not change."""
    from forecasting.artifact import forecaster_predictor
    from forecasting.domain import Kind
    from forecasting.predictor import Window, stack_windows

    effects = np.zeros(CONTEXT_LENGTH + 30, np.float32)
    effects[[20, CONTEXT_LENGTH + 3]] = -0.5, -0.25
    known = request(effects=effects[: CONTEXT_LENGTH + HORIZON].tolist(), band_scale=[1.0] * HORIZON)
    (_, answer), (_, plain) = handle(known, request(band_scale=[1.0] * HORIZON))
    assert [plain] == [handle(request(band_scale=[1.0] * HORIZON))[0][1]]
    ones, history = np.ones(30, np.float32), np.array(HISTORY, np.float32)
    window = Window(history, 19723, Kind.count, ones, effects=effects)
    expected = forecaster_predictor("v1.10", model).predict(stack_windows([window], HORIZON))
    np.testing.assert_allclose(answer["quantiles"], expected, rtol=1e-5)
    assert answer["quantiles"][0][3][3] < 0.9 * plain["quantiles"][0][3][3]
    [(status, refusal)] = handle(request(effects=[0.0] * 7))
    assert (status, refusal["detail"]) == (400, "instances[0].effects has 7 values; it must have 63.")


def test_kind_and_band_scale_may_be_left_out(handle: Handle) -> None:
    plain, explicit = handle(request(), request(kind="count", band_scale=[1] * HORIZON))
    assert plain == explicit


def test_null_is_an_unknown_day(handle: Handle, model: Any) -> None:
    history = [None, *HISTORY[1:30], None, *HISTORY[31:]]
    [(_, answer)] = handle(request(history=history))
    expected = forward(model, history, first_day=19723, kind=0)
    np.testing.assert_allclose(answer["quantiles"][0], expected, rtol=1e-6)
    assert not np.allclose(expected, forward(model, HISTORY, first_day=19723, kind=0))


def test_numbers_keep_every_bit_of_float32(handle: Handle, model: Any) -> None:
    # A prime's multiples fill the mantissa; written shorter than float32 needs, some would come back changed.
    history = [float(np.float32(day * 7919 % 1013) / np.float32(7)) for day in range(CONTEXT_LENGTH)]
    [(_, answer)] = handle(request(history=history))
    got = np.array(answer["quantiles"][0], dtype=np.float32)
    np.testing.assert_allclose(got, forward(model, history, first_day=19723, kind=0), rtol=1e-6)
    assert len({str(number) for row in answer["quantiles"][0] for number in row}) > 20


def test_no_instances_is_no_forecast(handle: Handle) -> None:
    assert handle({"instances": []}) == [(200, {"model_version": "v1.10", "quantiles": []})]


def test_neighbours_of_bad_requests_are_answered_as_if_alone(handle: Handle) -> None:
    other = request(history=[day * 3.0 for day in range(CONTEXT_LENGTH)])
    answers = handle(b"{", request(), request(kind="nix"), {"instances": other["instances"] * 3}, other)
    assert [status for status, _ in answers] == [400, 200, 400, 200, 200]
    [(_, alone)] = handle(other)
    np.testing.assert_allclose(answers[3][1]["quantiles"], alone["quantiles"] * 3, rtol=1e-6)
    np.testing.assert_allclose(answers[4][1]["quantiles"], alone["quantiles"], rtol=1e-6)


def test_all_requests_of_a_batch_go_through_the_model_in_one_call(module: ModuleType, folder: Path) -> None:
    context = make_context(folder)
    handler = module.ForecastHandler()
    handler.initialize(context)
    calls, model = [], handler.model

    def counted(*inputs: torch.Tensor) -> torch.Tensor:
        calls.append(len(inputs[0]))
        return model(*inputs)

    handler.model = counted
    context.request_processor = [RequestProcessor({}) for _ in range(3)]
    handler.handle([{"body": orjson.dumps(body)} for body in (request(), {"instances": [1]}, request())], context)
    assert calls == [2]


BROKEN = [
    (b'{"instances": [', "The body is no JSON: unexpected end of data: line 1 column 16 (char 15)."),
    (
        b'{"instances": [NaN]}',
        "The body is no JSON: unexpected character, expected a JSON value: line 1 column 16 (char 15).",
    ),
    ([1], 'The body is [1]; it must be {"instances": [...], "days_ahead": 7}.'),
    ({}, 'The body is {}; it must be {"instances": [...], "days_ahead": 7}.'),
    ({"series": []}, 'The body is {"series":[]}; it must be {"instances": [...], "days_ahead": 7}.'),
    ({"instances": 5}, "instances is 5; it must be a list."),
    ({"instances": [0] * 4097}, "instances has 4097 entries; one request may have 4096."),
    ({"instances": [[1]]}, "instances[0] is [1]; it must be an object."),
    (without("history"), "instances[0] has no history."),
    (without("first_day"), "instances[0] has no first_day."),
    (
        request(band_scales=[1]),
        'instances[0] has the unknown key "band_scales"; the keys are history, first_day, kind, band_scale, effects.',
    ),
    (request(history="a"), 'instances[0].history is "a"; it must be a list of 56 numbers.'),
    (request(history=HISTORY[:55]), "instances[0].history has 55 values; it must have 56."),
    (request(history=[None] * 43 + HISTORY[:13]), "instances[0].history has 13 known days; at least 14 are needed."),
    (request(history=changed_history(3, "7")), 'instances[0].history[3] is "7"; it must be a number.'),
    (request(history=changed_history(3, True)), "instances[0].history[3] is true; it must be a number."),
    (request(history=changed_history(3, -1e39)), "instances[0].history[3] is -1e+39; float32 holds at most 3.4e+38."),
    (request(first_day="2024-02-30"), 'instances[0].first_day is "2024-02-30"; it must be a date such as 2024-01-31.'),
    (request(first_day="20240101"), 'instances[0].first_day is "20240101"; it must be a date such as 2024-01-31.'),
    (request(first_day=19723), "instances[0].first_day is 19723; it must be a date such as 2024-01-31."),
    (request() | {"days_ahead": 0}, "days_ahead is 0; it must be a whole number from 1 to 30."),
    (request() | {"days_ahead": 31}, "days_ahead is 31; it must be a whole number from 1 to 30."),
    (request() | {"days_ahead": True}, "days_ahead is true; it must be a whole number from 1 to 30."),
    (request() | {"days_ahead": 7.0}, "days_ahead is 7.0; it must be a whole number from 1 to 30."),
    (request(band_scale=[1] * 7) | {"days_ahead": 8}, "instances[0].band_scale has 7 values; it must have 8."),
    (request(kind="visits"), 'instances[0].kind is "visits"; the kinds are count, rate, other.'),
    (request(kind=["count"]), 'instances[0].kind is ["count"]; the kinds are count, rate, other.'),
    (request(band_scale=2), "instances[0].band_scale is 2; it must be a list of 7 numbers."),
    (request(band_scale=[1] * 6), "instances[0].band_scale has 6 values; it must have 7."),
    (request(band_scale=[1] * 6 + [None]), "instances[0].band_scale[6] is null; it must be a number."),
    (request(band_scale=[1] * 6 + [1e39]), "instances[0].band_scale[6] is 1e+39; float32 holds at most 3.4e+38."),
    (request(band_scale=[1] * 6 + [-2]), "instances[0].band_scale has -2; a band's factor is 0 or more."),
    (
        {"instances": [request()["instances"][0], request(kind="x" * 99)["instances"][0]]},
        f'instances[1].kind is "{"x" * 56}...; the kinds are count, rate, other.',
    ),
]


@pytest.mark.parametrize(("body", "detail"), BROKEN, ids=range(len(BROKEN)))
def test_bad_request_is_told_what_was_found(handle: Handle, body: Any, detail: str) -> None:
    answers = handle(body, request())
    assert answers[0] == (400, {"detail": detail})
    assert answers[1][0] == 200


def test_missing_body_is_told_which_header_was_missing(module: ModuleType, folder: Path) -> None:
    """What `curl -d` sends without a header is a form, of which TorchServe makes other keys."""
    context = make_context(folder)
    handler = module.ForecastHandler()
    handler.initialize(context)
    context.request_processor = [RequestProcessor({})]
    assert orjson.loads(handler.handle([{"{}": b""}], context)[0]) == {
        "detail": "There is no body; send JSON, with the header Content-Type: application/json."
    }


def test_answer_that_is_not_finite_is_withheld_alone(handle: Handle) -> None:
    huge = [3e38 if day % 2 else -3e38 for day in range(CONTEXT_LENGTH)]
    answers = handle(request(), request(history=huge, kind="other", band_scale=[3e38] * HORIZON), request())
    assert [status for status, _ in answers] == [200, 500, 200]
    assert answers[1][1] == {
        "detail": "The model's answer to instances[0] is not finite, so this request gets no forecast."
    }


def test_more_windows_than_the_program_takes_are_split(module: ModuleType, folder: Path, handle: Handle) -> None:
    """32 requests of 4096 instances can meet in a batch: twice what the exported program takes at once."""
    from forecasting.domain import MAX_BATCH

    assert module.MAX_WINDOWS == MAX_BATCH
    handler = module.ForecastHandler()
    handler.initialize(make_context(folder))
    sizes = []
    handler.model = lambda history, *_: (sizes.append(len(history)), history[:, :HORIZON, None].repeat(1, 1, 7))[1]
    assert len(handler._run(handler._example(MAX_BATCH + 5), HORIZON)) == MAX_BATCH + 5
    assert sizes == [MAX_BATCH, 5]


def test_constants_are_those_of_the_package(module: ModuleType) -> None:
    from forecasting.domain import KIND_CODES, MAX_DAYS_AHEAD, MIN_DAYS_BESIDE_GAP, RECENT_DAYS

    assert {kind.value: number for kind, number in KIND_CODES.items()} == module.KINDS
    assert (module.MIN_KNOWN_DAYS, module.MAX_DAYS_AHEAD) == (MIN_DAYS_BESIDE_GAP, MAX_DAYS_AHEAD)
    assert module.RECENT_DAYS == RECENT_DAYS


def test_broken_model_is_a_value_error(module: ModuleType, tmp_path: Path, folder: Path) -> None:
    (tmp_path / "model.json").write_bytes((folder / "model.json").read_bytes())
    (tmp_path / "model.pt2").write_bytes(b"nothing")
    with pytest.raises(
        ValueError, match=r"^The model in this archive cannot be loaded: BadZipFile\('File is not a zip"
    ):
        module.ForecastHandler().initialize(make_context(tmp_path))
    with zipfile.ZipFile(tmp_path / "model.pt2", "w") as archive:
        archive.writestr("anything", "")
    with pytest.raises(ValueError, match=r"^The model in this archive cannot be loaded: "):
        module.ForecastHandler().initialize(make_context(tmp_path))
