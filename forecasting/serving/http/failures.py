"""Every status of a failure for the OpenAPI description: what it means, and texts as the routes answer them."""

from forecasting.serving.http.examples import NO_TORCHSERVE, UNKNOWN_METRIC

FAILURES: dict[int, tuple[str, dict[str, str]]] = {
    400: (
        "There is no such metric, site or version.",
        {
            "metric": UNKNOWN_METRIC,
            "site": "There is no site 'x' in version v1.0.0. It was trained on: siteanalytics.",
            "version": "There is no version v2 in model_store (there: v1.0.0). Train it: "
            "traffic-forecast train --model-version v2",
        },
    ),
    401: (
        "The API key is missing or unknown. Only if API_KEYS is set.",
        {
            "missing": "An API key is required. Send it as Authorization: Bearer KEY or as X-API-Key: KEY.",
            "unknown": "This API key is unknown. API_KEYS lists the valid ones.",
        },
    ),
    403: (
        "This API key may not do that. Without API keys: the host name or the web page's origin is not allowed.",
        {
            "right": "The API key 'ci' may only read. This route needs a key with the right admin.",
            "host": "The host name 'example.com' is not allowed. Add it to guard.hosts, or set API_KEYS.",
        },
    ),
    404: (
        "There is no such promotion, or no such unusual day.",
        {
            "anomaly": "There is no unusual day with the id 17. GET /anomalies lists them.",
            "id": "There is no promotion 'x'. Only the last 50 since serving started are remembered; "
            "GET /model/info says which version is served.",
        },
    ),
    408: (
        "The body did not arrive in time.",
        {"body": "The request body did not arrive within 30 s (guard.request_seconds)."},
    ),
    409: (
        "The version cannot be promoted now.",
        {
            "fixed": "MODEL_VERSION (or --model-version) fixes the version to v1.0.0. "
            "Unset it and restart the server to promote versions.",
            "busy": "Version v1.1.0 is being promoted right now. Follow it at /model/promote/9f2c51d0a7e3b846, "
            "and try again when it has finished.",
            "series": "Version v2 cannot forecast 1 of the 4 series that version v1.0.0 forecasts: page_visits of "
            'shop. Train it on them too, or promote it all the same with "force": true.',
            "broken": "model_store/v2/model.pt2 is missing. Train the version again.",
        },
    ),
    413: (
        "The body is too large.",
        {"body": "The request body is larger than 1,048,576 bytes. Request fewer series at once."},
    ),
    415: (
        "The body is packed with something other than gzip.",
        {"encoding": "The body's Content-Encoding is 'br'. Only gzip is supported: use it, or none."},
    ),
    422: (
        "The request is malformed: where, what is wrong, and what was found.",
        {
            "range": "days_ahead: Input should be less than or equal to 30 (found 31)",
            "query": "days: GET /predict/page-visits has no such parameter. Did you mean days_ahead?",
            "json": "The body is not valid JSON: Expecting property name enclosed in double quotes",
        },
    ),
    429: (
        "Too many requests.",
        {
            "rate": "The API key 'ci' may send 200 requests per second (guard.requests_per_second). Try again in 1 s.",
            "memory": "The API key 'ci' has large requests in flight that take 32.0 MiB of memory; they may take 32 "
            "MiB, half of guard.in_flight_mb. Read their answers first, or request less at once. Try again in 1 s.",
        },
    ),
    501: (
        "Retraining by request is not available yet. The text has the command to run instead.",
        {
            "command": "Retraining by request is not available yet. Run: traffic-forecast train --model-version "
            "v1.0.0, then POST /model/promote."
        },
    ),
    502: (
        "TorchServe's answer is not a forecast.",
        {"answer": "Version v2 answered in TorchServe, not v1."},
    ),
    503: (
        "A part is down, or there is not enough data: which, and what to do.",
        {
            "TorchServe": NO_TORCHSERVE,
            "connections": "Too many open connections (guard.max_connections). Try again later.",
            "memory": "Large requests in flight take all of the 64 MiB of memory that they may (guard.in_flight_mb). "
            "Try again later, or request less at once.",
            "data": "page_visits of siteanalytics has 20 known days among the last 56; a forecast needs 28. Load the "
            "missing days, or train with data.missing=zero if they had no traffic.",
        },
    ),
    504: (
        "A part did not answer in time.",
        {
            "part": "TorchServe did not answer within 10 s (serving.deadline_seconds).",
            "request": "The request took longer than 30 s (guard.request_seconds). Request less at once, or try again "
            "later.",
        },
    ),
}
