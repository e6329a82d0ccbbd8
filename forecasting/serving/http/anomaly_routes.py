"""Routes about unusual days."""

from typing import Any

from fastapi import FastAPI, Request

from forecasting.domain import Sensitivity
from forecasting.serving.http import examples, response_schema
from forecasting.serving.http.backend import Backend
from forecasting.serving.http.openapi import BODY_FAILURES, describe_responses
from forecasting.serving.http.request_schema import (
    AcknowledgeBody,
    AnomalyId,
    FirstDate,
    LastDate,
    MetricFilter,
    NumAnomalies,
    SensitivityFilter,
    SiteFilter,
)

ANOMALIES_PATH = "/anomalies"


def add_anomaly_routes(app: FastAPI, backend: Backend) -> None:
    @app.get(
        ANOMALIES_PATH,
        summary="Unusual days",
        tags=["unusual days"],
        responses=describe_responses(response_schema.Anomalies, examples.ANOMALIES, 400),
        response_model=None,
    )
    async def anomalies(
        *,
        site: SiteFilter = None,
        metric: MetricFilter = None,
        since: FirstDate = None,
        until: LastDate = None,
        sensitivity: SensitivityFilter = Sensitivity.medium,
        limit: NumAnomalies = 100,
    ) -> dict[str, Any]:
        """Newest first. Days are judged once they are over, and again if they are corrected."""
        found = await backend.list_anomalies(
            site=site, metric=metric, since=since, until=until, sensitivity=sensitivity, limit=limit
        )
        return {"num_anomalies": len(found), "anomalies": found}

    @app.post(
        ANOMALIES_PATH + "/{anomaly_id}/acknowledge",
        summary="Note that an unusual day has been seen",
        tags=["unusual days"],
        responses=describe_responses(response_schema.Acknowledged, examples.ACKNOWLEDGED, 404, *BODY_FAILURES),
        response_model=None,
    )
    async def acknowledge(http: Request, anomaly_id: AnomalyId, request: AcknowledgeBody = None) -> dict[str, Any]:
        """Covers all metrics of the site that day on the same side. The first to acknowledge stays."""
        name = http.scope["state"].get("client") or "anybody"
        return await backend.acknowledge_anomaly(anomaly_id, by=name, note=request.note if request else None)
