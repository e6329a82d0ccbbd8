"""The page for people, its files, and the two routes that it alone needs."""

from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response

from forecasting.serving.forecast_service import DEFAULT_METRIC
from forecasting.serving.http import examples, response_schema
from forecasting.serving.http.backend import Backend
from forecasting.serving.http.json_body import VARY, takes_gzip
from forecasting.serving.http.openapi import describe_responses
from forecasting.serving.http.request_schema import (
    FirstSite,
    HistoryDays,
    HistoryMetric,
    NumSites,
    Site,
)
from forecasting.serving.page.assets import Asset, load_assets

INDEX_PATH, STATIC_PATH = "/", "/static/"
# Nothing from elsewhere, and no script or style within the page: a name of a site cannot become either.
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
FOR_EVER = "public, max-age=31536000, immutable"  # the address changes with the files


def add_page_routes(app: FastAPI, backend: Backend) -> None:
    @app.get("/static/{digest}/{name}", include_in_schema=False)
    async def static(http: Request, digest: str, name: str) -> Response:
        asset = load_assets().find(digest, name)
        if asset is None:
            raise HTTPException(404, "There is no such file of the page. Load the page again.")
        return _send(http, asset, {"cache-control": FOR_EVER})

    @app.get(
        "/overview",
        summary="All sites at a glance",
        tags=["forecasts"],
        responses=describe_responses(response_schema.Overview, examples.OVERVIEW, 400, 502),
        response_model=None,
    )
    async def overview(limit: NumSites = 500, offset: FirstSite = 0) -> dict[str, Any]:
        """One series of each site: its last six weeks, its next week beside the last, and whether its newest day was
        unusual. Days that are left out of forecasts are null.
        """
        return await backend.read_overview(limit=limit, offset=offset)

    @app.get(
        "/history",
        summary="The days behind a forecast",
        tags=["forecasts"],
        responses=describe_responses(response_schema.History, examples.HISTORY, 400),
        response_model=None,
    )
    async def history(
        metric: HistoryMetric = DEFAULT_METRIC, site: Site = None, days: HistoryDays = 365
    ) -> dict[str, Any]:
        """The last days of a series as they were counted, and which of them are left out of forecasts."""
        return await backend.read_history(metric=metric, site=site, num_days=days)


def wants_page(http: Request) -> bool:
    """Browsers ask for HTML; programs get the list of routes."""
    return "text/html" in http.headers.get("accept", "")


def send_page(http: Request, root_path: str) -> Response:
    headers = {"content-security-policy": CONTENT_POLICY, "cache-control": "no-cache"}
    return _send(http, load_assets().write_index(root_path), headers)


def _send(http: Request, asset: Asset, headers: dict[str, str]) -> Response:
    if takes_gzip(http):
        headers = {**headers, "content-encoding": "gzip"}
    content = asset.packed if takes_gzip(http) else asset.plain
    return Response(content, media_type=asset.media_type, headers={**headers, **VARY})
