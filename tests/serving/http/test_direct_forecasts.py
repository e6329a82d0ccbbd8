"""Requests that are answered before FastAPI get the answers that FastAPI's own routes give."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import httpx
import numpy as np
import pytest
from starlette.types import ASGIApp

from forecasting.artifact import Artifact
from forecasting.card import SeriesCard
from forecasting.domain import YEAR_OF_DAYS
from forecasting.errors import DataError
from forecasting.predictor import Window
from forecasting.serving.http.app import create_app
from forecasting.serving.http.direct_forecasts import DirectForecasts, read_body, read_query
from forecasting.serving.http.middleware import HttpMiddleware
from forecasting.serving.http.request_schema import PredictRequest

from .test_routes import in_process

JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Sent:
    path: str
    body: bytes | None = None
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)


async def read(series: Sequence[SeriesCard]) -> list[Window | DataError]:
    """A window of each series but the second metric."""
    history, scale = np.arange(YEAR_OF_DAYS, dtype=np.float32), np.ones(30, np.float32)
    return [
        Window(history, 18_000, card.kind, scale) if card.metric == "page_visits" else DataError("no days")
        for card in series
    ]


def remove_direct_forecasts(app: ASGIApp) -> None:
    layer = app
    while isinstance(layer, HttpMiddleware):
        if isinstance(layer.app, DirectForecasts):
            layer.app = layer.app.app
            return
        layer = layer.app
    raise AssertionError("there is no such layer")


async def answer(artifact: Artifact, requests: Sequence[Sent], *, direct: bool) -> list[httpx.Response]:
    app = create_app(in_process(artifact, read))
    if not direct:
        remove_direct_forecasts(app)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        return [
            await client.request(
                "GET" if sent.body is None else "POST", sent.path, content=sent.body, headers=dict(sent.headers)
            )
            for sent in requests
        ]


REQUESTS = [
    Sent("/predict/page-visits"),
    Sent("/predict/page-visits?days_ahead=3&site=siteanalytics"),
    Sent("/predict/page-visits?days_ahead=%33"),
    Sent("/predict/page-visits?days_ahead=+3"),
    Sent("/predict/page-visits?days_ahead=3.0"),
    Sent("/predict/page-visits?days_ahead=1_0"),
    Sent("/predict/page-visits?days_ahead=31"),
    Sent("/predict/page-visits?days_ahead="),
    Sent("/predict/page-visits?days_ahead"),
    Sent("/predict/page-visits?days_ahead=3&days_ahead=3"),
    Sent("/predict/page-visits?site="),
    Sent("/predict/page-visits?site=x%20y"),
    Sent("/predict/page-visits?site=%ff"),
    Sent("/predict/page-visits?site=" + "x" * 201),
    Sent("/predict/page-visits?metric=page_visits"),
    Sent("/predict/page-visits?day=3"),
    Sent("/predict/page-visits?&&days_ahead=2"),
    Sent("/predict", b"{}"),
    Sent("/predict", b'{"days_ahead": 3, "metric": "page_visits", "site": "siteanalytics"}'),
    Sent("/predict", b'{"days_ahead": "3"}'),
    Sent("/predict", b'{"days_ahead": 3.0}'),
    Sent("/predict", b'{"days_ahead": 3.5}'),
    Sent("/predict", b'{"days_ahead": true}'),
    Sent("/predict", b'{"days_ahead": null}'),
    Sent("/predict", b'{"days_ahead": NaN}'),
    Sent("/predict", b'{"days_ahead": 1, "days_ahead": 2}'),
    Sent("/predict", b'{"day": 1}'),
    Sent("/predict", b'{"metric": "unique_visitors"}'),
    Sent("/predict", b'{"metric": "nothing"}'),
    Sent("/predict", b'{"metric": 7}'),
    Sent("/predict", b'{"metric": "\\ud83d\\ude00"}'),
    Sent("/predict", b'{"site": "\\u0000"}'),
    Sent("/predict", b'{"site": null}'),
    Sent("/predict", b'\xef\xbb\xbf{"days_ahead": 2}'),
    Sent("/predict", '{"days_ahead": 2}'.encode("utf-16")),
    Sent("/predict", b"[]"),
    Sent("/predict", b"null"),
    Sent("/predict", b""),
    Sent("/predict", b" {} "),
    Sent("/predict", b"{} {}"),
    Sent("/predict?days_ahead=2", b"{}"),
    Sent("/predict", b"{}", ()),
    Sent("/predict", b"{}", (("Content-Type", "application/json; charset=utf-8"),)),
    Sent("/predict", b"{}", (("Content-Type", "text/plain"),)),
    Sent("/predict", b"{}", (("Content-Type", "application/vnd.api+json"),)),
]


def test_direct_answers_are_those_of_the_routes(sample_artifact: Artifact) -> None:
    direct = asyncio.run(answer(sample_artifact, REQUESTS, direct=True))
    routes = asyncio.run(answer(sample_artifact, REQUESTS, direct=False))
    for sent, response, expected in zip(REQUESTS, direct, routes, strict=True):
        assert response.status_code == expected.status_code, sent
        assert sorted(response.headers.multi_items()) == sorted(expected.headers.multi_items()), sent
        assert without_time(response) == without_time(expected), sent
    assert {response.status_code for response in routes} == {200, 400, 422, 503}


def without_time(response: httpx.Response) -> dict[str, object]:
    content: dict[str, object] = response.json()
    content.pop("prediction_date", None)  # the second may have changed between the two
    return content


@pytest.mark.parametrize(
    ("query", "request_read"),
    [
        (b"", PredictRequest(metric="page_visits", days_ahead=7, site=None)),
        (b"days_ahead=30&site=my%20blog", PredictRequest(metric="page_visits", days_ahead=30, site="my blog")),
        (b"metric=visits", None),
        (b"days_ahead=0", None),
        (b"site=a&site=a", None),
    ],
)
def test_plain_queries_are_read(query: bytes, request_read: PredictRequest | None) -> None:
    assert read_query(query) == request_read


@pytest.mark.parametrize(
    ("body", "request_read"),
    [
        (b"{}", PredictRequest(metric="page_visits", days_ahead=7, site=None)),
        (b'{"metric": "visits", "site": "b"}', PredictRequest(metric="visits", days_ahead=7, site="b")),
        (b'{"metrics": ["visits"]}', None),
        (b"{", None),
    ],
)
def test_plain_bodies_are_read(body: bytes, request_read: PredictRequest | None) -> None:
    assert read_body(body) == request_read
