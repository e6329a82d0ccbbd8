"""What the routes take and answer, as OpenAPI describes it: every field with its unit, range and an example.

Requests are checked against these models. Answers are not: they are made elsewhere and sent as they are, since checking
each would cost more than making it. tests/serving/test_openapi.py and tests/stack/test_contract.py hold them together.
"""

import datetime as dt
from typing import Annotated, Any, Literal, NotRequired

from fastapi import Body, Path, Query
from pydantic import BaseModel, ConfigDict, Discriminator, Field, RootModel, Tag, model_validator
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict  # pydantic takes the one of `typing` from Python 3.12 on

from forecasting.domain import MAX_DAYS_AHEAD
from forecasting.serving.forecast_service import DEFAULT_METRIC

Json = dict[str, Any]  # Any: json's own types

MAX_METRICS = 1000
MAX_SITES = 10_000
MAX_SERIES = 10_000  # of one request
MAX_NAME = 200

# ---- requests

# The length also makes pydantic refuse lone surrogates, which JSON can write, but no answer in UTF-8 could repeat.
Name = Annotated[str, Field(max_length=MAX_NAME)]
DAYS_AHEAD = f"Days to forecast after the data's last day, 1 to {MAX_DAYS_AHEAD}."
ONLY_SITE = "The site; may be left out where there is only one."
DaysAhead = Annotated[int, Query(ge=1, le=MAX_DAYS_AHEAD, description=DAYS_AHEAD, examples=[7])]
Site = Annotated[Name | None, Query(description=ONLY_SITE, examples=["siteanalytics"])]
BodyDaysAhead = Annotated[int, Field(ge=1, le=MAX_DAYS_AHEAD, description=DAYS_AHEAD, examples=[7])]
BodySite = Annotated[Name | None, Field(description=ONLY_SITE, examples=["siteanalytics"])]
MetricList = Annotated[
    list[Name],
    Field(
        min_length=1,
        max_length=MAX_METRICS,
        description="Metrics that the version was trained on; one that it does not know has an `error` in its place.",
        examples=[["page_visits", "unique_visitors"]],
    ),
]


class PredictRequest(BaseModel):
    """One metric of one site."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"days_ahead": 7, "metric": DEFAULT_METRIC}]}
    )

    days_ahead: BodyDaysAhead = 7
    metric: Name = Field(
        DEFAULT_METRIC, description="A metric that the version was trained on.", examples=[DEFAULT_METRIC]
    )
    site: BodySite = None


class MultipleRequest(BaseModel):
    """Many metrics, of one site (`site`) or of several (`sites`)."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"metrics": ["page_visits", "unique_visitors"], "days_ahead": 7}],
            "not": {
                "properties": {"site": {"type": "string"}, "sites": {"type": "array"}},
                "required": ["site", "sites"],
            },
        },
    )

    metrics: MetricList
    days_ahead: BodyDaysAhead = 7
    site: BodySite = None
    sites: list[Name] | None = Field(
        None,
        min_length=1,
        max_length=MAX_SITES,
        description="Several sites: the answer is then by site, by metric.",
        examples=[["siteanalytics"]],
    )

    @model_validator(mode="after")
    def _check(self) -> "MultipleRequest":
        if self.site is not None and self.sites is not None:
            raise PydanticCustomError("site_and_sites", "Give either `site` or `sites`, not both")
        num_series = len(self.metrics) * len(self.sites or [self.site])
        if num_series > MAX_SERIES:
            raise PydanticCustomError(
                "too_many_series",
                "{num_metrics} metrics of {num_sites} sites are {num_series} forecasts; a request may have {limit}",
                {
                    "num_metrics": len(self.metrics),
                    "num_sites": len(self.sites or [self.site]),
                    "num_series": num_series,
                    "limit": MAX_SERIES,
                },
            )
        return self


# Told apart by what they are, so that a fault in one is not answered with what is wrong with it as the other.
MultipleBody = Annotated[
    Annotated[MultipleRequest, Tag("object")] | Annotated[MetricList, Tag("list")],
    Discriminator(lambda body: "list" if isinstance(body, list) else "object"),
    Body(
        openapi_examples={
            "metrics": {
                "summary": "Metrics of the only site",
                "value": {"metrics": ["page_visits", "unique_visitors"], "days_ahead": 7},
            },
            "sites": {
                "summary": "Metrics of several sites",
                "value": {"metrics": ["page_visits"], "sites": ["siteanalytics"], "days_ahead": 2},
            },
            "list": {
                "summary": "As older clients send it: a bare list, with ?days_ahead=",
                "value": ["page_visits", "unique_visitors"],
            },
        }
    ),
]


class PromoteRequest(BaseModel):
    """The version to serve."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"version": "v1.1.0"}]})

    version: Name = Field(min_length=1, description="A version in MODEL_DIR.", examples=["v1.1.0"])


PromotionId = Annotated[
    str, Path(max_length=MAX_NAME, description="The promotion's `id`.", examples=["9f2c51d0a7e3b846"])
]
Wait = Annotated[
    float,
    Query(
        ge=0,
        le=3600,
        description="Seconds to wait for the promotion to finish, at most 80% of guard.request_seconds. "
        "Then the answer has the status reached so far.",
        examples=[20],
    ),
]


# ---- answers: dictionaries, so described as such

Metric = Annotated[str, Field(description="The metric.", examples=["page_visits"])]
SiteName = Annotated[str, Field(description="The site.", examples=["siteanalytics"])]
Version = Annotated[str, Field(description="The version that answers. Text: v1.10 is not v1.1.", examples=["v1.0.0"])]
Additive = Annotated[
    bool,
    Field(
        description="Whether days add up to a week. Those of visitors do not: the same may come on two days.",
        examples=[True],
    ),
]
AnsweredBy = Annotated[
    Literal["forecaster", "seasonal_naive"],
    Field(
        description="`seasonal_naive` repeats last week, for series on which that measured better.",
        examples=["forecaster"],
    ),
]
Visits = Annotated[int, Field(ge=0, description="Visits of the day, for counts only.", examples=[3008])]


class Row(TypedDict):
    """A day. `page_visits` has `predicted_visits`, other counts both values, rates `predicted_value` alone."""

    date: Annotated[
        dt.date, Field(description="The day, YYYY-MM-DD, in the site's time zone.", examples=["2020-08-20"])
    ]
    predicted_visits: NotRequired[Visits]
    predicted_value: NotRequired[
        Annotated[
            float,
            Field(description="The median, in the metric's own unit, for all but `page_visits`.", examples=[3008]),
        ]
    ]
    lower: Annotated[float, Field(description="The band's lower end, in the same unit.", examples=[1841])]
    upper: Annotated[float, Field(description="The band's upper end, in the same unit.", examples=[3484])]


class Total(TypedDict):
    """The sum of the days, with a band of its own: days that miss together make it wider."""

    value: Annotated[int, Field(ge=0, description="The sum of the days' values.", examples=[5767])]
    lower: Annotated[int, Field(ge=0, description="The band's lower end.", examples=[3662])]
    upper: Annotated[int, Field(ge=0, description="The band's upper end.", examples=[6590])]


class Forecast(TypedDict):
    """The days ahead of one metric of one site."""

    predictions: Annotated[
        list[Row],
        Field(min_length=1, max_length=MAX_DAYS_AHEAD, description="Exactly `days_ahead` rows, the nearest day first."),
    ]
    model_version: Version
    prediction_date: Annotated[
        dt.datetime,
        Field(
            description="When the forecast was made: ISO time, UTC, to the second.",
            examples=["2026-11-23T20:39:31+00:00"],
        ),
    ]
    days_ahead: Annotated[int, Field(ge=1, le=MAX_DAYS_AHEAD, description="As asked for, in days.", examples=[2])]
    total_predicted_visits: Annotated[
        Annotated[int, Field(ge=0)] | None,
        Field(description="The sum of `predicted_visits`; null for metrics that are no counts.", examples=[5767]),
    ]
    site: SiteName
    metric: Metric
    additive: Additive
    answered_by: AnsweredBy
    data_until: Annotated[
        dt.date,
        Field(description="The last complete day of the data, YYYY-MM-DD.", examples=["2020-08-19"]),
    ]
    total: Annotated[Total | None, Field(description="Null where days do not add up.")]
    band: Annotated[
        float, Field(gt=0, lt=1, description="The probability of a day between `lower` and `upper`.", examples=[0.8])
    ]
    stale: Annotated[
        bool,
        Field(
            description="False: made from what is known now. True: a part is down, and this is the last one that could "
            "be made, at `prediction_date`.",
            examples=[False],
        ),
    ]


class Refused(TypedDict):
    """Stands in place of a forecast that cannot be made, while the others can."""

    error: Annotated[str, Field(description="What was wrong, what was found, what to do.", examples=["There is ..."])]


class ByMetric(RootModel[dict[str, Forecast | Refused]]):
    """By metric, in the order in which they were asked for."""


class BySite(RootModel[dict[str, ByMetric]]):
    """By site, where `sites` was said, and then by metric."""


class Failure(TypedDict):
    """Every answer of 400 and above."""

    detail: Annotated[str, Field(description="What was wrong, what was found, what to do.")]


class Health(TypedDict):
    """How the parts are; always 200."""

    status: Annotated[
        Literal["healthy", "degraded"], Field(description="`degraded` while any part is down.", examples=["healthy"])
    ]
    service: Annotated[str, Field(description="This service's name.", examples=["ml-prediction-api"])]
    model_loaded: Annotated[bool, Field(description="Whether the model answers.", examples=[True])]
    problems: Annotated[
        list[str],
        Field(description="A sentence for each part that is down; empty when healthy.", examples=[[]]),
    ]


class Ready(TypedDict):
    """Every part answers."""

    ready: Annotated[Literal[True], Field(description="True: requests are answered.", examples=[True])]


class NotReady(TypedDict):
    """Some part does not answer."""

    detail: Annotated[str, Field(description="A sentence for each part that does not answer.")]
    ready: Annotated[Literal[False], Field(description="False: ask again after Retry-After.", examples=[False])]


class Measured(TypedDict):
    """A series that the version was trained on."""

    site: SiteName
    metric: Metric
    metrics: Annotated[
        Json,
        Field(
            description="Error measures of tested days: mae, rmse (in the metric's unit), mse, mape, wape, r2, mase, "
            "coverage_80 (shares), num_cutoffs, and `seasonal_naive` with the same of repeating last week. A measure "
            "that cannot be computed is null, or a text that says why.",
            examples=[{"mae": 137.1, "mase": 0.81, "coverage_80": 0.79}],
        ),
    ]


class ModelInfo(TypedDict):
    """The version that answers."""

    model_version: Version
    sequence_length: Annotated[int, Field(ge=1, description="Days that the LSTM reads, one step each.", examples=[7])]
    prediction_horizon: Annotated[int, Field(ge=1, description="Days that one forward pass forecasts.", examples=[7])]
    is_trained: Annotated[bool, Field(description="True: an untrained model is not served.", examples=[True])]
    total_parameters: Annotated[int, Field(ge=1, description="Numbers that were learned.", examples=[53_767])]
    created_at: Annotated[
        dt.datetime, Field(description="When it was trained: ISO time, UTC.", examples=["2026-11-23T20:30:02+00:00"])
    ]
    data_until: Annotated[
        dt.date, Field(description="The last day that training knew, YYYY-MM-DD.", examples=["2020-08-19"])
    ]
    series: Annotated[list[Measured], Field(description="What it was trained on.")]


class Promotion(TypedDict):
    """A promotion and how far it is."""

    id: Annotated[str, Field(description="Names the promotion.", examples=["9f2c51d0a7e3b846"])]
    version: Annotated[str, Field(description="The version to serve.", examples=["v1.1.0"])]
    status: Annotated[
        Literal["queued", "running", "promoted", "refused", "failed"],
        Field(
            description="`promoted`: the version is served. `refused`: this version cannot be served. `failed`: "
            "something broke on the way. After these two the version before is still served.",
            examples=["promoted"],
        ),
    ]
    reason: Annotated[
        str | None, Field(description="Why the promotion was refused or failed, else null.", examples=[None])
    ]
    follow: Annotated[
        str, Field(description="Path that says how the promotion goes.", examples=["/model/promote/9f2c51d0a7e3b846"])
    ]


class MetricInfo(TypedDict):
    """A metric of a site."""

    metric: Metric
    kind: Annotated[
        Literal["count", "rate", "other"],
        Field(
            description="`count`: whole numbers; `rate`: a share or percent; else the value's own unit.",
            examples=["count"],
        ),
    ]
    additive: Additive
    answered_by: AnsweredBy


class SiteInfo(TypedDict):
    """A site that the version forecasts."""

    site: SiteName
    timezone: Annotated[
        str | None,
        Field(description="Whose days these are; null where the data no longer has it.", examples=["UTC"]),
    ]
    metrics: Annotated[list[MetricInfo], Field(description="What can be asked for.")]


class Sites(TypedDict):
    """What can be asked for."""

    model_version: Version
    sites: Annotated[list[SiteInfo], Field(description="Sites that the version was trained on.")]
    untrained: Annotated[
        list[str], Field(description="Sites that came later: train a version to forecast them.", examples=[["new"]])
    ]


class Index(TypedDict):
    """The list of routes."""

    service: Annotated[str, Field(description="This service's name.", examples=["ml-prediction-api"])]
    routes: Annotated[list[str], Field(description="Each as METHOD /path.", examples=[["GET /health"]])]
    documentation: Annotated[str, Field(description="Where this description is.", examples=["/openapi.json"])]
