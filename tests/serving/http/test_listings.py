"""GET /model/info and GET /sites of a version of thousands of series: short, page by page, and made once."""

import asyncio
import gzip
from dataclasses import replace
from typing import Any

import httpx
import pytest

from forecasting.artifact import Artifact
from forecasting.serving.http.app import create_app
from forecasting.serving.http.json_body import KeptBody, accepts_gzip
from forecasting.settings.schema import Config, ServingConfig

from .test_routes import in_process, never

NUM_SITES = 250
SITES = [f"site-{number:03}" for number in range(NUM_SITES)]
METRICS = ("page_visits", "unique_visitors")
PAIRS = [(site, metric) for site in SITES for metric in METRICS]
FIRST_SITES = ", ".join(SITES[:20])
NO_METRIC = "There is no metric 'nope' in version v1.10. It was trained on: page_visits, unique_visitors."
MEASURES = {"mae": 137.1, "mase": 0.81}


@pytest.fixture(scope="module")
def large(sample_artifact: Artifact) -> Artifact:
    [series, _] = sample_artifact.card.series
    cards = tuple(replace(series, site=site, metric=metric, metrics=MEASURES) for site, metric in PAIRS)
    return replace(sample_artifact, card=replace(sample_artifact.card, series=cards))


def request(artifact: Artifact, *paths: str, config: Config | None = None, **headers: str) -> list[httpx.Response]:
    """One after another; without gzip, unless the headers ask for it."""

    async def run() -> list[httpx.Response]:
        transport = httpx.ASGITransport(create_app(in_process(artifact, never), config))
        asked = {"accept-encoding": "identity", **headers}
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=asked) as client:
            return [await client.get(path) for path in paths]

    return asyncio.run(run())


def get(artifact: Artifact, path: str) -> Any:  # Any: json's own types
    [response] = request(artifact, path)
    assert response.status_code == 200, response.text
    return response.json()


def names(info: dict[str, Any]) -> list[tuple[str, str]]:
    return [(series["site"], series["metric"]) for series in info["series"]]


def test_model_info_has_the_first_series_and_how_many_there_are(large: Artifact) -> None:
    info = get(large, "/model/info")
    assert (info["num_series"], info["next"]) == (500, "/model/info?limit=100&offset=100")
    assert names(info) == PAIRS[:100]
    assert info["series"][0] == {"site": "site-000", "metric": "page_visits", "metrics": MEASURES}


@pytest.mark.parametrize(("path", "key"), [("/model/info?limit=70", "series"), ("/sites?limit=30", "sites")])
def test_pages_have_everything_once_and_in_order(large: Artifact, path: str, key: str) -> None:
    found, next_path = [], path
    while next_path is not None:
        page = get(large, next_path)
        found += page[key]
        next_path = page["next"]
    assert found == (get(large, "/sites")["sites"] if key == "sites" else [
        {"site": site, "metric": metric, "metrics": MEASURES} for site, metric in PAIRS
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("query", "pairs"),
    [
        ("site=site-007", [("site-007", metric) for metric in METRICS]),
        ("site=site-007&metric=unique_visitors", [("site-007", "unique_visitors")]),
        ("metric=unique_visitors&limit=2&offset=249", [("site-249", "unique_visitors")]),
        ("offset=499", PAIRS[499:]),
        ("offset=500", []),
    ],
)
def test_series_are_found_by_site_and_metric(large: Artifact, query: str, pairs: list[tuple[str, str]]) -> None:
    info = get(large, f"/model/info?{query}")
    assert (names(info), info["next"]) == (pairs, None)


def test_a_page_of_a_metric_leads_to_the_next_one_of_it(large: Artifact) -> None:
    info = get(large, "/model/info?metric=unique_visitors&limit=2")
    assert (info["num_series"], info["next"]) == (250, "/model/info?metric=unique_visitors&limit=2&offset=2")
    behind_proxy = Config(serving=ServingConfig(root_path="/stats"))
    [listing] = request(large, "/sites?limit=2", config=behind_proxy)
    assert listing.json()["next"] == "/stats/sites?limit=2&offset=2"


def test_sites_without_parameters_are_all_sites(large: Artifact) -> None:
    listing = get(large, "/sites")
    assert (listing["num_sites"], listing["next"]) == (250, None)
    assert [site["site"] for site in listing["sites"]] == SITES
    assert listing["sites"][7] == {
        "site": "site-007", "aliases": [], "timezone": None,
        "metrics": [
            {"metric": metric, "kind": "count", "additive": True, "answered_by": "forecaster"} for metric in METRICS
        ],
    }  # fmt: skip


def test_sites_of_a_name_and_of_a_metric(large: Artifact) -> None:
    [site] = get(large, "/sites?site=site-007&metric=unique_visitors")["sites"]
    assert (site["site"], [metric["metric"] for metric in site["metrics"]]) == ("site-007", ["unique_visitors"])
    page = get(large, "/sites?metric=page_visits")
    assert (page["num_sites"], len(page["sites"]), page["next"]) == (
        250, 100, "/sites?metric=page_visits&limit=100&offset=100",
    )  # fmt: skip


@pytest.mark.parametrize("path", ["/model/info", "/sites"])
@pytest.mark.parametrize(
    ("query", "status", "detail"),
    [
        ("site=nope", 400, f"There is no site 'nope' in version v1.10. It was trained on: {FIRST_SITES} and 230 more."),
        ("metric=nope", 400, NO_METRIC),
        ("site=site-007&metric=nope", 400, NO_METRIC),
        ("limit=0", 422, "limit: Input should be greater than or equal to 1 (found '0')"),
        ("limit=1001", 422, "limit: Input should be less than or equal to 1000 (found '1001')"),
        ("limit=1_0", 422, "limit: Input should be a number, written in digits (found '1_0')"),
        ("offset=-1", 422, "offset: Input should be greater than or equal to 0 (found '-1')"),
    ],
)  # fmt: skip
def test_filters_that_match_nothing_are_refused(
    large: Artifact, path: str, query: str, status: int, detail: str
) -> None:
    [response] = request(large, f"{path}?{query}")
    assert (response.status_code, response.json()) == (status, {"detail": detail})


@pytest.mark.parametrize("path", ["/model/info", "/model/info?limit=1000", "/sites", "/sites?limit=200"])
def test_answers_are_packed_for_those_who_can_unpack_them(large: Artifact, path: str) -> None:
    [plain] = request(large, path)
    [packed] = request(large, path, **{"accept-encoding": "br;q=1.0, gzip;q=0.5"})
    assert (plain.headers.get("content-encoding"), packed.headers["content-encoding"]) == (None, "gzip")
    assert packed.json() == plain.json()  # httpx unpacks it
    assert int(packed.headers["content-length"]) * 5 < len(plain.content) == int(plain.headers["content-length"])
    assert plain.headers["vary"] == packed.headers["vary"] == "accept-encoding"


def test_small_answers_are_not_packed(sample_artifact: Artifact) -> None:
    [response] = request(sample_artifact, "/model/info", **{"accept-encoding": "gzip"})
    assert response.json()["num_series"] == 2
    assert ("content-encoding" in response.headers, "vary" in response.headers) == (False, False)


def test_a_body_is_kept_until_there_is_another_source() -> None:
    """A source that is equal, but another one, counts as another."""
    num_made = 0

    def describe(source: list[int]) -> list[int]:
        nonlocal num_made
        num_made += 1
        return source

    async def run() -> list[bytes]:
        kept, first, second = KeptBody(describe), [1], [1]
        bodies = await asyncio.gather(*(kept.get(first) for _ in range(5)))
        bodies += [await kept.get(second), await kept.get(second)]
        return [body.plain for body in bodies]

    assert asyncio.run(run()) == [b"[1]"] * 7
    assert num_made == 2


@pytest.mark.parametrize(
    ("header", "is_accepted"),
    [
        ("", False), ("gzip", True), ("GZIP", True), ("x-gzip", True), ("deflate, gzip;q=1.0, *;q=0.5", True),
        ("gzip;q=0", False), ("gzip; q=0.000", False), ("gzip;q=0.001", True), ("*", True), ("*;q=0", False),
        ("identity;q=1, *;q=0", False), ("gzip;q=0, *", False), ("gzipped", False), ("br", False),
    ],
)  # fmt: skip
def test_header_accept_encoding_says_who_takes_gzip(header: str, is_accepted: bool) -> None:
    assert accepts_gzip(header) is is_accepted


def test_packed_body_is_one_gzip_stream_of_the_plain_one(large: Artifact) -> None:
    async def run() -> tuple[bytes, bytes]:
        transport = httpx.ASGITransport(create_app(in_process(large, never)))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            async with client.stream("GET", "/sites", headers={"accept-encoding": "gzip"}) as response:
                packed = b"".join([part async for part in response.aiter_raw()])
            plain = (await client.get("/sites", headers={"accept-encoding": "identity"})).content
        return packed, plain

    packed, plain = asyncio.run(run())
    assert gzip.decompress(packed) == plain
