"""Requests as OpenAPI describes them, and as they are validated."""

import datetime as dt
import re
from typing import Annotated

from fastapi import Body, Path, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, StrictBool, Tag, model_validator
from pydantic_core import PydanticCustomError

from forecasting.domain import MAX_DAYS_AHEAD, Sensitivity
from forecasting.serving.forecast_service import DEFAULT_METRIC

MAX_METRICS = 1000
MAX_SITES = 10_000
MAX_SERIES = 10_000  # in one request
MAX_NAME = 200
DEFAULT_LIMIT, MAX_LIMIT = 100, 1000  # series or sites of one page


# The limit also makes pydantic refuse lone surrogates, which JSON can express but no response in UTF-8 could repeat.
def refuse_odd_numbers(value: object) -> object:
    """Pydantic would take true as 1, and "1_0" as 10."""
    if isinstance(value, bool) or (isinstance(value, str) and "_" in value):
        raise PydanticCustomError("number", "Input should be a number, written in digits")
    return value


def refuse_odd_days(value: object) -> object:
    """Pydantic would take a number as seconds since 1970."""
    if isinstance(value, str) and not re.fullmatch(r"\d{4}-\d\d-\d\d", value, re.ASCII):
        raise PydanticCustomError("day", "Input should be a day, YYYY-MM-DD")
    return value


PlainNumber = BeforeValidator(refuse_odd_numbers)
PlainDay = BeforeValidator(refuse_odd_days)
Name = Annotated[str, Field(max_length=MAX_NAME)]
DAYS_AHEAD = f"Days to forecast after the last day of the data, 1 to {MAX_DAYS_AHEAD}."
ONLY_SITE = "The site, by its name or an earlier one. Optional if there is only one."
DaysAhead = Annotated[int, Query(ge=1, le=MAX_DAYS_AHEAD, description=DAYS_AHEAD, examples=[7]), PlainNumber]
Site = Annotated[Name | None, Query(description=ONLY_SITE, examples=["siteanalytics"])]
SiteFilter = Annotated[
    Name | None,
    Query(description="Only this site, by its name or an earlier one.", examples=["siteanalytics"]),
]
MetricFilter = Annotated[Name | None, Query(description="Only this metric.", examples=["page_visits"])]
Limit = Annotated[
    int,
    Query(ge=1, le=MAX_LIMIT, description="At most so many. `next` is the path of the next page.", examples=[100]),
    PlainNumber,
]
Offset = Annotated[int, Query(ge=0, description="How many to skip.", examples=[0]), PlainNumber]
BodyDaysAhead = Annotated[int, Field(ge=1, le=MAX_DAYS_AHEAD, description=DAYS_AHEAD, examples=[7]), PlainNumber]
BodySite = Annotated[Name | None, Field(description=ONLY_SITE, examples=["siteanalytics"])]
MetricList = Annotated[
    list[Name],
    Field(
        min_length=1,
        max_length=MAX_METRICS,
        description="Metrics that the version was trained on. An unknown one gets an `error` in place of a forecast.",
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
    """Many metrics of one site (`site`) or of several (`sites`)."""

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
        description="Several sites. The response is then by site and metric.",
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


# Distinguished by their type, so that the errors of an object do not include what is wrong with it as a list.
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
                "summary": "A bare list with ?days_ahead=, as older clients send it",
                "value": ["page_visits", "unique_visitors"],
            },
        }
    ),
]


def refuse_nameless(value: object) -> object:
    """One sentence for "", null and whatever else is no name."""
    if not isinstance(value, str) or not value.strip():
        raise PydanticCustomError("version", 'Name a version of MODEL_DIR as text, such as "v1.1.0"')
    return value


class PromoteRequest(BaseModel):
    """The version to serve."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"version": "v1.1.0"}]})

    version: Annotated[Name, BeforeValidator(refuse_nameless)] = Field(
        min_length=1, description="A version in MODEL_DIR.", examples=["v1.1.0"]
    )
    force: StrictBool = Field(
        default=False,
        description="Also if series that are forecast now no longer can be.",
        examples=[False],
    )


class AcknowledgeRequest(BaseModel):
    """What is known about an unusual day."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"note": "the newsletter went out"}]})

    note: Annotated[
        str | None,
        Field(max_length=1000, description="What is known about the day.", examples=["the newsletter went out"]),
    ] = None


AcknowledgeBody = Annotated[
    AcknowledgeRequest | None,
    Body(description="May be left out.", examples=[{"note": "the newsletter went out"}]),
]
AnomalyId = Annotated[int, Path(ge=1, le=2**63 - 1, description="The unusual day's `id`.", examples=[17])]
FirstDate = Annotated[
    dt.date | None, Query(description="The first day; by default 30 days ago.", examples=["2020-08-01"]), PlainDay
]
FirstForecastDate = Annotated[
    dt.date | None,
    Query(description="The first day, whose whole week counts; by default 91 days ago.", examples=["2020-06-01"]),
    PlainDay,
]
LastDate = Annotated[
    dt.date | None, Query(description="The last day; by default today.", examples=["2020-08-19"]), PlainDay
]
SensitivityFilter = Annotated[
    Sensitivity,
    Query(description="How easily a day counts as unusual: `high` lists most days, `off` none.", examples=["medium"]),
]
NumSites = Annotated[int, Query(ge=1, le=1000, description="Sites at most.", examples=[500]), PlainNumber]
FirstSite = Annotated[int, Query(ge=0, description="How many sites to skip.", examples=[0]), PlainNumber]
HistoryMetric = Annotated[Name, Query(description="The metric.", examples=["page_visits"])]
HistoryDays = Annotated[int, Query(ge=1, le=1830, description="Days at most.", examples=[365]), PlainNumber]
NumAnomalies = Annotated[int, Query(ge=1, le=1000, description="Days at most.", examples=[100]), PlainNumber]
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
    PlainNumber,
]
