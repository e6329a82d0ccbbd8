"""Examples of responses for the OpenAPI description."""

from forecasting.serving.http.response_schema import Json

_PAGE_VISITS: Json = {
    "predictions": [
        {"date": "2020-08-20", "predicted_visits": 3478, "lower": 3209, "upper": 3729},
        {"date": "2020-08-21", "predicted_visits": 3025, "lower": 2755, "upper": 3287},
    ],
    "site": "siteanalytics",
    "metric": "page_visits",
    "additive": True,
    "model_version": "v1.0.0",
    "answered_by": "forecaster",
    "prediction_date": "2026-11-23T20:39:31+00:00",
    "data_until": "2020-08-19",
    "days_ahead": 2,
    "total_predicted_visits": 6503,
    "total": {"value": 6503, "lower": 6055, "upper": 6929},
    "band": 0.8,
    "stale": False,
    "data_age_days": 1,
    "notes": [],
}
_VISITORS: Json = {
    **_PAGE_VISITS,
    "predictions": [
        {"date": "2020-08-20", "predicted_value": 2661, "predicted_visits": 2661, "lower": 2466, "upper": 2839}
    ],
    "metric": "unique_visitors",
    "additive": False,
    "days_ahead": 1,
    "total_predicted_visits": 2661,
    "total": None,
}
_RATE: Json = {
    **_VISITORS,
    "predictions": [{"date": "2020-08-20", "predicted_value": 41.2, "lower": 33.5, "upper": 48.9}],
    "metric": "bounce_rate",
    "total_predicted_visits": None,
}
PAGE_VISITS = {"page_visits": _PAGE_VISITS}
FORECASTS = {"page_visits": _PAGE_VISITS, "a count": _VISITORS, "a rate": _RATE}

UNKNOWN_METRIC = "There is no metric 'nope' in version v1.0.0. It was trained on: page_visits, unique_visitors."
_BY_METRIC: Json = {"page_visits": _PAGE_VISITS, "nope": {"error": UNKNOWN_METRIC}}
MULTIPLE = {"by metric": _BY_METRIC, "by site": {"siteanalytics": _BY_METRIC}}

NO_TORCHSERVE = "TorchServe is not running: nothing listens at http://127.0.0.1:8080/predictions/forecaster/v1.0.0."
_HEALTHY: Json = {
    "status": "healthy",
    "service": "ml-prediction-api",
    "model_loaded": True,
    "problems": [],
    "changes": [],
    "data_until": "2020-08-19",
    "data_age_days": 1,
    "source_read_at": "2020-08-20T09:15:02+00:00",
    "notes": [],
    "daily_job": {
        "succeeded_at": "2020-08-20T06:15:02+00:00",
        "age_hours": 3.0,
        "outcome": "succeeded",
        "next_at": "2020-08-21T06:15:00+00:00",
    },
}
HEALTH = {
    "healthy": _HEALTHY,
    "degraded": {**_HEALTHY, "status": "degraded", "model_loaded": False, "problems": [NO_TORCHSERVE]},
}
READY = {
    "ready": {"ready": True},
    "without new days": {"ready": True, "problems": ["The source of new days does not answer."]},
}
INDEX = {
    "routes": {
        "service": "ml-prediction-api",
        "routes": ["GET /health", "GET /predict/page-visits", "POST /predict"],
        "documentation": "/openapi.json",
    }
}
METRICS_TEXT = "Counts and times in Prometheus' text format: the server's, then TorchServe's."
METRICS = 'forecaster_requests_total{method="GET",route="/health",status="200"} 1.0\n'

MODEL_INFO = {
    "model": {
        "model_version": "v1.0.0",
        "sequence_length": 7,
        "prediction_horizon": 7,
        "is_trained": True,
        "total_parameters": 53_767,
        "created_at": "2026-11-23T20:30:02+00:00",
        "data_until": "2020-08-19",
        "num_series": 1,
        "series": [
            {"site": "siteanalytics", "metric": "page_visits", "metrics": {"mae": 412.0, "mase": 0.81}},
        ],
        "next": None,
    }
}
SITES = {
    "sites": {
        "model_version": "v1.0.0",
        "num_sites": 1,
        "sites": [
            {
                "site": "siteanalytics",
                "aliases": [],
                "timezone": "UTC",
                "metrics": [
                    {"metric": "page_visits", "kind": "count", "additive": True, "answered_by": "forecaster"},
                ],
            }
        ],
        "untrained": ["new"],
        "next": None,
    }
}
_QUEUED = {
    "id": "9f2c51d0a7e3b846",
    "version": "v1.1.0",
    "status": "queued",
    "reason": None,
    "follow": "/model/promote/9f2c51d0a7e3b846",
}
HISTORY: Json = {
    "page_visits": {
        "site": "siteanalytics",
        "metric": "page_visits",
        "kind": "count",
        "additive": True,
        "first_date": "2020-08-17",
        "data_until": "2020-08-19",
        "values": [3478.0, None, 2960.0],
        "expected": {"2020-08-19": {"lower": 2650, "value": 3012, "upper": 3391}},
        "left_out": {},
    },
}
OVERVIEW: Json = {
    "one_site": {
        "model_version": "v1.0.0",
        "num_sites": 1,
        "sites": [
            {
                "site": "siteanalytics",
                "metric": "page_visits",
                "kind": "count",
                "additive": True,
                "first_date": "2020-08-18",
                "data_until": "2020-08-19",
                "age_days": 1,
                "is_late": False,
                "values": [3478.0, 2960.0],
                "predictions": [{"date": "2020-08-20", "predicted_visits": 3012, "lower": 2650, "upper": 3391}],
                "week": {"value": 20140, "lower": 18200, "upper": 22300, "last": None},
                "unusual": None,
                "error": None,
            }
        ],
    },
}
ANOMALIES: Json = {
    "page_visits": {
        "num_anomalies": 1,
        "anomalies": [
            {
                "id": 17,
                "site": "siteanalytics",
                "metric": "page_visits",
                "date": "2020-08-18",
                "kind": "day",
                "value": 1204.0,
                "expected": 3478.2,
                "lower": 2897.0,
                "upper": 4021.5,
                "score": -6.3,
                "direction": "low",
                "severity": "major",
                "sensitivity": "low",
                "first_date": "2020-08-18",
                "text": "1,204 page visits on Tuesday, 3,480 were expected (2,900 to 4,020). About once in 250 days. "
                "Also unique visitors.",
                "new_level": False,
                "also": ["unique_visitors"],
                "num_other_sites": 0,
                "verdict": "observed",
                "cause": None,
                "value_before": None,
                "model_version": "v1.0.0",
                "judged_at": "2020-08-19T06:00:00+00:00",
                "told_at": "2020-08-19T06:00:00+00:00",
                "withdrawn_at": None,
                "acknowledged_at": None,
                "acknowledged_by": None,
                "note": None,
            }
        ],
    }
}
_ACCURACY: Json = {
    "model_version": "v1.0.0",
    "num_days": 441,
    "num_weeks": 9,
    "promised": {"error": 412.0, "naive_error": 508.6, "relative_error": 0.81, "coverage_80": 0.79},
    "realised": {
        "error": 431.2,
        "naive_error": 513.3,
        "relative_error": 0.84,
        "coverage_80": 0.78,
        "coverage_90": 0.9,
        "pinball": 131.4,
    },
    "p_value": 0.42,
    "text": "The error was 0.84 times the seasonal naive forecast's, 0.81 was promised: no more than chance "
    "(p = 0.42).",
}
ACCURACY: Json = {
    "one series": {
        "since": "2020-06-01",
        "days_ahead": 7,
        "versions": [_ACCURACY],
        "num_series": 1,
        "series": [{"site": "siteanalytics", "metric": "page_visits", **_ACCURACY}],
        "notes": [],
    }
}
ACKNOWLEDGED: Json = {
    "seen": {
        "ids": [17, 18],
        "acknowledged_at": "2020-08-19T08:15:00+00:00",
        "acknowledged_by": "ops",
        "note": "the newsletter went out",
    }
}
PROMOTIONS = {
    "queued": _QUEUED,
    "promoted": {**_QUEUED, "status": "promoted"},
    "failed": {
        **_QUEUED,
        "status": "failed",
        "reason": "TorchServe could not start with version v1.1.0. The server's log says why.",
    },
}
