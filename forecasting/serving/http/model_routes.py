"""Routes about the version that is served, and about serving another one."""

import time
from typing import Any

from fastapi import FastAPI

from forecasting.card import Card
from forecasting.errors import Unavailable
from forecasting.invocation import show_command
from forecasting.serving.http import examples, response_schema
from forecasting.serving.http.backend import Backend
from forecasting.serving.http.openapi import (
    BODY_FAILURES,
    describe_accepted_responses,
    describe_failures,
    describe_responses,
)
from forecasting.serving.http.request_schema import PromoteRequest, PromotionId, Wait
from forecasting.serving.promotions import PROMOTE_PATH, Promotion
from forecasting.warehouse.site_directory import SiteDirectory


def add_model_routes(app: FastAPI, backend: Backend, root_path: str = "") -> None:
    @app.get(
        "/model/info",
        summary="The version that is served",
        tags=["model"],
        responses=describe_responses(response_schema.ModelInfo, examples.MODEL_INFO),
        response_model=None,
    )
    async def model_info() -> dict[str, Any]:
        """Its size, when and on what it was trained, and its accuracy on days that training did not see."""
        problems = await backend.find_problems()
        if problems.model:
            raise Unavailable(" ".join(problems.describe()))
        return describe_model(backend.forecast_cache.card)

    @app.get(
        "/sites",
        summary="Sites and their metrics",
        tags=["model"],
        responses=describe_responses(response_schema.Sites, examples.SITES),
        response_model=None,
    )
    async def sites() -> dict[str, Any]:
        """What can be forecast, and the sites that appeared after the version was trained."""
        return describe_sites(await backend.list_sites())

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
    async def wait_for(promotion: Promotion, seconds: float) -> dict[str, str | None]:
        if seconds > 0:
            await promotion.wait(seconds)
        return describe_promotion(promotion)

    @app.post(
        PROMOTE_PATH,
        status_code=202,
        summary="Serve another version",
        tags=["model"],
        responses=describe_accepted_responses(response_schema.Promotion, examples.PROMOTIONS, 400, 409, *BODY_FAILURES),
        response_model=None,
    )
    async def promote(request: PromoteRequest, wait: Wait = 0) -> dict[str, str | None]:
        """Starts the promotion and says where to follow it. It takes some seconds; the current version answers
        meanwhile. The promoted version is served after a restart, too.
        """
        latest = time.monotonic() + max_wait_seconds  # of the whole request: starting may take seconds, too
        promotion = await backend.promote(request.version, force=request.force)
        return await wait_for(promotion, min(wait, latest - time.monotonic()))

    @app.get(
        PROMOTE_PATH + "/{promotion_id}",
        summary="Status of a promotion",
        tags=["model"],
        responses=describe_responses(response_schema.Promotion, examples.PROMOTIONS, 404),
        response_model=None,
    )
    async def follow_promotion(promotion_id: PromotionId, wait: Wait = 0) -> dict[str, str | None]:
        """The last 50 promotions since serving started are remembered."""
        return await wait_for(backend.find_promotion(promotion_id), min(wait, max_wait_seconds))


def describe_model(card: Card) -> dict[str, Any]:  # Any: json's own types
    return {
        "model_version": card.version,
        "sequence_length": card.sequence_length,
        "prediction_horizon": card.horizon,
        "is_trained": True,
        "total_parameters": card.total_parameters,
        "created_at": card.created_at,
        "data_until": card.data["last_day"],
        "series": [{"site": series.site, "metric": series.metric, "metrics": series.metrics} for series in card.series],
    }


def describe_sites(directory: SiteDirectory) -> dict[str, Any]:  # Any: json's own types
    metrics_by_site: dict[str, list[dict[str, Any]]] = {}
    for series in directory.card.series:
        metric = {
            "metric": series.metric,
            "kind": series.kind.value,
            "additive": series.additive,
            "answered_by": series.answered_by,
        }
        metrics_by_site.setdefault(series.site, []).append(metric)
    timezones = directory.timezones
    sites = [
        {"site": site, "aliases": directory.aliases_of(site), "timezone": timezones.get(site), "metrics": metrics}
        for site, metrics in metrics_by_site.items()
    ]
    untrained = sorted(set(timezones) - set(metrics_by_site))
    return {"model_version": directory.card.version, "sites": sites, "untrained": untrained}


def describe_promotion(promotion: Promotion) -> dict[str, str | None]:
    return {
        "id": promotion.id,
        "version": promotion.version,
        "status": promotion.status.value,
        "reason": promotion.reason,
        "follow": promotion.follow,
    }
