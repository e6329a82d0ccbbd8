"""Routes about the version that is served, and about serving another one."""

import time
from typing import Any

from fastapi import FastAPI, Request, Response

from forecasting.errors import Unavailable
from forecasting.invocation import show_command
from forecasting.serving.http import examples, response_schema
from forecasting.serving.http.backend import Backend
from forecasting.serving.http.error_responses import IN_THE_LOG, shows_details
from forecasting.serving.http.listings import Listing, Page, describe_model, describe_sites
from forecasting.serving.http.openapi import (
    BODY_FAILURES,
    describe_accepted_responses,
    describe_failures,
    describe_responses,
)
from forecasting.serving.http.request_schema import (
    DEFAULT_LIMIT,
    FirstForecastDate,
    Limit,
    MetricFilter,
    Offset,
    PromoteRequest,
    PromotionId,
    SiteFilter,
    Wait,
)
from forecasting.serving.promotions import PROMOTE_PATH, Promotion

INFO_PATH, SITES_PATH = "/model/info", "/sites"


def add_model_routes(app: FastAPI, backend: Backend, *, root_path: str) -> None:
    all_sites = Page(root_path + SITES_PATH)
    info = Listing(describe_model, Page(root_path + INFO_PATH, DEFAULT_LIMIT))
    listing = Listing(describe_sites, all_sites)

    @app.get(
        INFO_PATH,
        summary="The version that is served",
        tags=["model"],
        responses=describe_responses(response_schema.ModelInfo, examples.MODEL_INFO, 400),
        response_model=None,
    )
    async def model_info(
        http: Request,
        site: SiteFilter = None,
        metric: MetricFilter = None,
        limit: Limit = DEFAULT_LIMIT,
        offset: Offset = 0,
    ) -> Response:
        """Its size, when and on what it was trained, and its accuracy on days that training did not see, which `series`
        has for each series: the first ones, those of a `site` or a `metric`, or page by page.
        """
        problems = await backend.find_problems()
        if problems.model:
            raise Unavailable(" ".join(problems.describe()))  # in brief to those who may not read it
        page = Page(root_path + INFO_PATH, limit, offset, site, metric)
        return await info.answer(http, backend.forecast_cache.sites, page)

    @app.get(
        SITES_PATH,
        summary="Sites and their metrics",
        tags=["model"],
        responses=describe_responses(response_schema.Sites, examples.SITES, 400),
        response_model=None,
    )
    async def sites(
        http: Request,
        site: SiteFilter = None,
        metric: MetricFilter = None,
        limit: Limit = DEFAULT_LIMIT,
        offset: Offset = 0,
    ) -> Response:
        """What can be forecast, and the sites that appeared after the version was trained: all of them, or
        page by page if the query has any parameter.
        """
        page = Page(root_path + SITES_PATH, limit, offset, site, metric) if http.query_params else all_sites
        return await listing.answer(http, await backend.list_sites(), page)

    @app.get(
        "/model/accuracy",
        summary="Forecasts held to account",
        tags=["model"],
        responses=describe_responses(response_schema.Accuracy, examples.ACCURACY, 400),
        response_model=None,
    )
    async def accuracy(
        *,
        site: SiteFilter = None,
        metric: MetricFilter = None,
        since: FirstForecastDate = None,
        limit: Limit = DEFAULT_LIMIT,
        offset: Offset = 0,
    ) -> dict[str, Any]:
        """What each version promised, from days that its training had not seen, beside the forecasts that were kept and
        what came true. The daily job fills in what came true.
        """
        return await backend.describe_accuracy(site=site, metric=metric, since=since, limit=limit, offset=offset)

    @app.post(
        "/model/retrain",
        status_code=501,
        summary="Retraining: not available yet",
        tags=["model"],
        responses=describe_failures(501, *BODY_FAILURES),
        response_model=None,
    )
    async def retrain() -> dict[str, str]:
        """Says which command to run instead."""
        command = show_command("train", "--model-version", backend.forecast_cache.card.version)
        then = f"POST {root_path}{PROMOTE_PATH}"
        return {"detail": f"Retraining by request is not available yet. Run: {command}, then {then}."}


def add_promotion_routes(app: FastAPI, backend: Backend, *, max_wait_seconds: float) -> None:
    async def wait_for(promotion: Promotion, seconds: float, http: Request) -> dict[str, str | None]:
        if seconds > 0:
            await promotion.wait(seconds)
        return describe_promotion(promotion, in_full=shows_details(http.scope))

    @app.post(
        PROMOTE_PATH,
        status_code=202,
        summary="Serve another version",
        tags=["model"],
        responses=describe_accepted_responses(response_schema.Promotion, examples.PROMOTIONS, 400, 409, *BODY_FAILURES),
        response_model=None,
    )
    async def promote(http: Request, request: PromoteRequest, wait: Wait = 0) -> dict[str, str | None]:
        """Starts the promotion and says where to follow it. It takes some seconds; the current version answers
        meanwhile. The promoted version is served after a restart, too.
        """
        latest = time.monotonic() + max_wait_seconds  # of the whole request: starting may take seconds, too
        promotion = await backend.promote(request.version, force=request.force)
        return await wait_for(promotion, min(wait, latest - time.monotonic()), http)

    @app.get(
        PROMOTE_PATH + "/{promotion_id}",
        summary="Status of a promotion",
        tags=["model"],
        responses=describe_responses(response_schema.Promotion, examples.PROMOTIONS, 404),
        response_model=None,
    )
    async def follow_promotion(http: Request, promotion_id: PromotionId, wait: Wait = 0) -> dict[str, str | None]:
        """The last 50 promotions since serving started are remembered."""
        return await wait_for(backend.find_promotion(promotion_id), min(wait, max_wait_seconds), http)


def describe_promotion(promotion: Promotion, *, in_full: bool) -> dict[str, str | None]:
    """The reason may name files and hosts: `in_full` has it, else where it is."""
    return {
        "id": promotion.id,
        "version": promotion.version,
        "status": promotion.status.value,
        "reason": promotion.reason if in_full or promotion.reason is None else IN_THE_LOG,
        "follow": promotion.follow,
    }
