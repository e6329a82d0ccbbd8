"""Responses as OpenAPI describes them: every field with its unit, range and an example.

Responses are not validated, since that would cost more than making them. tests/serving/http/test_openapi.py and
tests/stack/test_contract.py compare them with these models.
"""

import datetime as dt
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field, RootModel
from typing_extensions import TypedDict  # pydantic takes the one of `typing` from Python 3.12 on

from forecasting.domain import MAX_DAYS_AHEAD

Json = dict[str, Any]  # Any: json's own types

Metric = Annotated[str, Field(description="The metric.", examples=["page_visits"])]
SiteName = Annotated[str, Field(description="The site.", examples=["siteanalytics"])]
Version = Annotated[str, Field(description="The model version. Text: v1.10 is not v1.1.", examples=["v1.0.0"])]
Additive = Annotated[
    bool,
    Field(
        description="Whether days add up to a week. Visitors do not: the same one may come on two days.",
        examples=[True],
    ),
]
AnsweredBy = Annotated[
    Literal["forecaster", "seasonal_naive", "base"],
    Field(
        description="`seasonal_naive` repeats the last week, for series on which that is more accurate; `base`, the "
        "pretrained model, answers for sites that came after the version was trained.",
        examples=["forecaster"],
    ),
]
NextPage = Annotated[
    str | None,
    Field(description="Path of the next page; null after the last one.", examples=["/model/info?limit=100&offset=100"]),
]
Visits = Annotated[int, Field(ge=0, description="Visits on that day, for counts only.", examples=[3478])]


class Row(TypedDict):
    """One day. `page_visits` has `predicted_visits`, other counts have both values, rates only `predicted_value`."""

    date: Annotated[
        dt.date, Field(description="The day, YYYY-MM-DD, in the site's time zone.", examples=["2020-08-20"])
    ]
    predicted_visits: NotRequired[Visits]
    predicted_value: NotRequired[
        Annotated[
            float,
            Field(description="The median in the metric's own unit; not for `page_visits`.", examples=[3478]),
        ]
    ]
    lower: Annotated[float, Field(description="Lower end of the prediction band, in the same unit.", examples=[1841])]
    upper: Annotated[float, Field(description="Upper end of the prediction band, in the same unit.", examples=[3729])]


class Total(TypedDict):
    """The sum of the days and its own band, which is wider the more the errors of the days correlate."""

    value: Annotated[
        int,
        Field(
            ge=0,
            description="Visits of all days together. On quiet sites more than the sum of the rows.",
            examples=[6503],
        ),
    ]
    lower: Annotated[int, Field(ge=0, description="Lower end of the band.", examples=[3662])]
    upper: Annotated[int, Field(ge=0, description="Upper end of the band.", examples=[6590])]


class Forecast(TypedDict):
    """Forecast of one metric of one site."""

    predictions: Annotated[
        list[Row],
        Field(min_length=1, max_length=MAX_DAYS_AHEAD, description="Exactly `days_ahead` rows in order of date."),
    ]
    model_version: Version
    prediction_date: Annotated[
        dt.datetime,
        Field(
            description="When the forecast was made: ISO 8601, UTC, to the second.",
            examples=["2026-11-23T20:39:31+00:00"],
        ),
    ]
    days_ahead: Annotated[int, Field(ge=1, le=MAX_DAYS_AHEAD, description="As requested, in days.", examples=[2])]
    total_predicted_visits: Annotated[
        Annotated[int, Field(ge=0)] | None,
        Field(description="Sum of `predicted_visits`; null for metrics that are not counts.", examples=[6503]),
    ]
    site: SiteName
    metric: Metric
    additive: Additive
    answered_by: AnsweredBy
    data_until: Annotated[
        dt.date,
        Field(description="The last complete day of the data, YYYY-MM-DD.", examples=["2020-08-19"]),
    ]
    total: Annotated[Total | None, Field(description="Null if days do not add up.")]
    band: Annotated[
        float, Field(gt=0, lt=1, description="Probability that a day is between `lower` and `upper`.", examples=[0.8])
    ]
    stale: Annotated[
        bool,
        Field(
            description="False: made from the current data. True: a part is down, and this is the last forecast that "
            "could be made, at `prediction_date`; or days after `data_until` cannot be read; or some of these days are "
            "over already. `notes` and GET /health say why.",
            examples=[False],
        ),
    ]
    data_age_days: Annotated[
        int, Field(description="Days from `data_until` until today; 1: the data are up to date.", examples=[1])
    ]
    notes: Annotated[
        list[str],
        Field(
            description="A sentence if some of these days are over already, and one if the last day of the data is "
            "masked, such as a half-counted one. Also which regressors the forecast uses, and for which days their "
            "values are not known.",
            examples=[[]],
        ),
    ]
    regressors: NotRequired[
        Annotated[
            list[str],
            Field(
                description="The columns of `data.regressors` that the forecast uses; left out if it uses none.",
                examples=[["temperature"]],
            ),
        ]
    ]


class Refused(TypedDict):
    """In place of a forecast that cannot be made while others can."""

    error: Annotated[str, Field(description="What was wrong, what was found, what to do.", examples=["There is ..."])]


class ByMetric(RootModel[dict[str, Forecast | Refused]]):
    """By metric, in the order of the request."""


class BySite(RootModel[dict[str, ByMetric]]):
    """By site, then by metric, if the request has `sites`."""


class Failure(TypedDict):
    """Every response with a status of 400 or more."""

    detail: Annotated[str, Field(description="What was wrong, what was found, what to do.")]


class DailyJob(TypedDict):
    """The daily job, whoever runs it."""

    succeeded_at: Annotated[
        dt.datetime | None,
        Field(description="When the last good run began; null: none.", examples=["2020-08-20T06:15:02+00:00"]),
    ]
    age_hours: Annotated[float | None, Field(description="Hours since then.", examples=[3.0])]
    outcome: Annotated[
        Literal["running", "succeeded", "failed", "interrupted"] | None,
        Field(description="Of the last run; null: none yet.", examples=["succeeded"]),
    ]
    next_at: Annotated[
        dt.datetime | None,
        Field(
            description="When the server runs it next; null: it does not (`schedule.daily=off`).",
            examples=["2020-08-21T06:15:00+00:00"],
        ),
    ]


class Health(TypedDict):
    """Health of all parts."""

    status: Annotated[
        Literal["healthy", "degraded"], Field(description="`degraded` while any part is down.", examples=["healthy"])
    ]
    service: Annotated[str, Field(description="This service's name.", examples=["ml-prediction-api"])]
    model_loaded: Annotated[bool, Field(description="Whether TorchServe answers with the model.", examples=[True])]
    problems: Annotated[
        list[str],
        Field(description="A sentence for each part that is down; empty if healthy.", examples=[[]]),
    ]
    changes: Annotated[
        list[str],
        Field(
            description="A sentence for each site that was renamed or deleted in the source after the version was "
            "trained, and about days that are kept although the source no longer has them.",
            examples=[["The site Blog is called Journal now."]],
        ),
    ]
    data_until: Annotated[
        dt.date | None,
        Field(description="The newest day of any series, YYYY-MM-DD; null: not known yet.", examples=["2026-11-27"]),
    ]
    data_age_days: Annotated[
        int | None, Field(description="Days from `data_until` until today; null: not known yet.", examples=[1])
    ]
    source_read_at: Annotated[
        dt.datetime | None,
        Field(
            description="When new days were last looked for in the source, and could be read: ISO 8601, UTC; null: "
            "never since the start.",
            examples=["2026-11-28T09:15:02+00:00"],
        ),
    ]
    notes: Annotated[
        list[str],
        Field(description="What the source's tables had to be said about then, a sentence each.", examples=[[]]),
    ]
    daily_job: Annotated[DailyJob, Field(description="How the last runs of the daily job went.")]


class Ready(TypedDict):
    """Requests are answered."""

    ready: Annotated[Literal[True], Field(description="True: requests are answered.", examples=[True])]
    problems: NotRequired[
        Annotated[
            list[str],
            Field(
                min_length=1,
                description="If something is wrong although requests are answered: as in GET /health.",
                examples=[["The source of new days does not answer."]],
            ),
        ]
    ]


class NotReady(TypedDict):
    """A part is down."""

    detail: Annotated[str, Field(description="A sentence for each part that is down.")]
    ready: Annotated[Literal[False], Field(description="False: try again after Retry-After.", examples=[False])]


class TrainedSeries(TypedDict):
    """A series that the version was trained on."""

    site: SiteName
    metric: Metric
    metrics: Annotated[
        Json,
        Field(
            description="Accuracy on the test days: mae, rmse (in the metric's unit), mse, mape, wape, r2, mase, "
            "coverage_80 (fractions), num_cutoffs, and `seasonal_naive` with the same for repeating the last week. A "
            "measure that cannot be computed is null, or a text that says why.",
            examples=[{"mae": 137.1, "mase": 0.81, "coverage_80": 0.79}],
        ),
    ]


class ModelInfo(TypedDict):
    """The version that is served."""

    model_version: Version
    sequence_length: Annotated[int, Field(ge=1, description="Days that the LSTM reads, one step each.", examples=[7])]
    prediction_horizon: Annotated[int, Field(ge=1, description="Days forecast unless asked otherwise.", examples=[7])]
    is_trained: Annotated[bool, Field(description="True: an untrained model is not served.", examples=[True])]
    total_parameters: Annotated[int, Field(ge=1, description="Number of learned parameters.", examples=[53_767])]
    created_at: Annotated[
        dt.datetime, Field(description="When it was trained: ISO 8601, UTC.", examples=["2026-11-23T20:30:02+00:00"])
    ]
    data_until: Annotated[
        dt.date, Field(description="Last day of the training data, YYYY-MM-DD.", examples=["2020-08-19"])
    ]
    num_series: Annotated[
        int, Field(ge=0, description="Series that it was trained on, or those asked for.", examples=[1])
    ]
    series: Annotated[
        list[TrainedSeries], Field(description="These series: the first 100, or `limit` of them after `offset`.")
    ]
    next: NextPage


class Promotion(TypedDict):
    """A promotion and how far it is."""

    id: Annotated[str, Field(description="Names the promotion.", examples=["9f2c51d0a7e3b846"])]
    version: Annotated[str, Field(description="The version to serve.", examples=["v1.1.0"])]
    status: Annotated[
        Literal["queued", "running", "promoted", "refused", "failed"],
        Field(
            description="`promoted`: the version is served. `refused`: this version cannot be served. `failed`: "
            "something broke on the way. After these two the version before is still served, and GET /health says why.",
            examples=["promoted"],
        ),
    ]
    reason: Annotated[
        str | None, Field(description="Why the promotion was refused or failed, else null.", examples=[None])
    ]
    follow: Annotated[
        str, Field(description="Path that says how the promotion goes.", examples=["/model/promote/9f2c51d0a7e3b846"])
    ]


class Anomaly(TypedDict):
    """An unusual day of a series. Values are in the source's unit; of a week, the sum of its days or their mean."""

    id: Annotated[int, Field(description="Names the unusual day.", examples=[17])]
    site: SiteName
    metric: Metric
    date: Annotated[dt.date, Field(description="The day; of a week, its last.", examples=["2020-08-18"])]
    kind: Annotated[
        Literal["day", "week"],
        Field(description="What is unusual: the day, or the week that ends with it.", examples=["day"]),
    ]
    value: Annotated[float, Field(description="What was counted.", examples=[1204.0])]
    expected: Annotated[float, Field(description="What the forecast made before expected.", examples=[3478.2])]
    lower: Annotated[float, Field(description="Lower end of its 80% band.", examples=[2897.0])]
    upper: Annotated[float, Field(description="Upper end of its 80% band.", examples=[4021.5])]
    score: Annotated[
        float,
        Field(description="How far off: 1.645 is the end of the 90% band; below 0 too low.", examples=[-6.3]),
    ]
    direction: Annotated[Literal["high", "low"], Field(description="Too high or too low.", examples=["low"])]
    severity: Annotated[Literal["minor", "major", "extreme"], Field(description="By the score.", examples=["major"])]
    sensitivity: Annotated[
        Literal["low", "medium", "high"],
        Field(description="The lowest sensitivity at which the day is told.", examples=["low"]),
    ]
    first_date: Annotated[
        dt.date, Field(description="The first of the unusual days that it goes on with.", examples=["2020-08-18"])
    ]
    text: Annotated[
        str,
        Field(
            description="What happened and what was expected, as people read it.",
            examples=["1,204 page visits on Tuesday, 3,480 were expected (2,900 to 4,020). About once in 250 days."],
        ),
    ]
    new_level: Annotated[bool, Field(description="Whether the two days after it stayed there.", examples=[False])]
    also: Annotated[
        list[str],
        Field(description="Other metrics of the site, that day on that side.", examples=[["unique_visitors"]]),
    ]
    num_other_sites: Annotated[int, Field(ge=0, description="Other sites, that day on that side.", examples=[0])]
    verdict: Annotated[
        str | None,
        Field(description="What is known about the day: observed, outage, partial, ...", examples=["partial"]),
    ]
    cause: Annotated[str | None, Field(description="The holiday on the day, or beside it.", examples=[None])]
    value_before: Annotated[
        float | None, Field(description="What was counted before the day was corrected.", examples=[None])
    ]
    model_version: Version
    judged_at: Annotated[dt.datetime, Field(description="When.", examples=["2020-08-19T06:00:00+00:00"])]
    told_at: Annotated[
        dt.datetime | None,
        Field(
            description="Null if the site's sensitivity leaves it out, or it goes on with one that was told.",
            examples=["2020-08-19T06:00:00+00:00"],
        ),
    ]
    withdrawn_at: Annotated[
        dt.datetime | None, Field(description="Since when a correction has made the day as expected.", examples=[None])
    ]
    acknowledged_at: Annotated[dt.datetime | None, Field(description="When somebody has seen it.", examples=[None])]
    acknowledged_by: Annotated[str | None, Field(description="The name of the API key.", examples=[None])]
    note: Annotated[str | None, Field(description="What that person knew about it.", examples=[None])]


class Anomalies(TypedDict):
    """Unusual days."""

    num_anomalies: Annotated[int, Field(ge=0, description="Days in this answer.", examples=[1])]
    anomalies: Annotated[list[Anomaly], Field(description="Newest first.")]


class Measures(TypedDict):
    """Accuracy of forecasts; null where it is not defined, not known, or the unit differs between series."""

    error: Annotated[float | None, Field(description="Mean absolute error, in the source's unit.", examples=[412.0])]
    naive_error: Annotated[
        float | None, Field(description="That of repeating the last week, on the same days.", examples=[508.6])
    ]
    relative_error: Annotated[
        float | None,
        Field(description="The first over the second; of all series, their geometric mean.", examples=[0.81]),
    ]
    coverage_80: Annotated[float | None, Field(description="Share of days inside the 80% band.", examples=[0.79])]


class RealisedMeasures(Measures):
    """Accuracy of the forecasts that were kept, once their days were over."""

    coverage_90: Annotated[float, Field(description="Share of days inside the 90% band.", examples=[0.9])]
    pinball: Annotated[
        float | None, Field(description="Mean quantile loss over all levels, in the source's unit.", examples=[131.4])
    ]


class VersionAccuracy(TypedDict):
    """What a version promised, and what came true."""

    model_version: Version
    num_days: Annotated[int, Field(ge=1, description="Forecast days that are over.", examples=[280])]
    num_weeks: Annotated[int, Field(ge=1, description="Weeks that they lie in.", examples=[9])]
    promised: Annotated[Measures, Field(description="On days that training had not seen.")]
    realised: Annotated[RealisedMeasures, Field(description="Of the forecasts that were kept.")]
    p_value: Annotated[
        float | None,
        Field(
            description="How likely a difference this large is by chance, from weekly means that may depend on each "
            "other; null: too few weeks, or nothing was promised.",
            examples=[0.42],
        ),
    ]
    text: Annotated[
        str,
        Field(
            description="Both errors, as people read them.",
            examples=[
                "The error was 0.84 times the seasonal naive forecast's, 0.81 was promised: no more than chance "
                "(p = 0.42)."
            ],
        ),
    ]


class SeriesAccuracy(VersionAccuracy):
    """The same of one series."""

    site: SiteName
    metric: Metric


class Accuracy(TypedDict):
    """Kept forecasts beside what came true."""

    since: Annotated[dt.date, Field(description="The first day, whose whole week counts.", examples=["2020-06-01"])]
    days_ahead: Annotated[int, Field(ge=1, description="Days ahead that count, at most.", examples=[7])]
    versions: Annotated[list[VersionAccuracy], Field(description="All series of each version together.")]
    num_series: Annotated[int, Field(ge=0, description="Series of all versions.", examples=[1])]
    series: Annotated[list[SeriesAccuracy], Field(description="Each series; `limit` and `offset` choose a part.")]
    notes: Annotated[list[str], Field(description="Why there is nothing, if so.", examples=[[]])]


class Acknowledged(TypedDict):
    """What is known about the days that were acknowledged."""

    ids: Annotated[list[int], Field(description="All metrics of the site that day on that side.", examples=[[17, 18]])]
    acknowledged_at: Annotated[dt.datetime, Field(description="When.", examples=["2020-08-19T08:15:00+00:00"])]
    acknowledged_by: Annotated[str, Field(description="The name of the API key.", examples=["ops"])]
    note: Annotated[str | None, Field(description="The note.", examples=["the newsletter went out"])]


class MetricInfo(TypedDict):
    """A metric of a site."""

    metric: Metric
    kind: Annotated[
        Literal["count", "rate", "other"],
        Field(
            description="`count`: whole numbers; `rate`: a fraction or percent; `other`: the metric's own unit.",
            examples=["count"],
        ),
    ]
    additive: Additive
    answered_by: AnsweredBy


class SiteInfo(TypedDict):
    """A site that the version forecasts."""

    site: SiteName
    aliases: Annotated[
        list[str], Field(description="Earlier names of the site, which requests may use.", examples=[["Blog"]])
    ]
    timezone: Annotated[
        str | None,
        Field(description="Time zone of the site's days; null if the data no longer has the site.", examples=["UTC"]),
    ]
    metrics: Annotated[list[MetricInfo], Field(description="Metrics that can be forecast.")]


class Sites(TypedDict):
    """What can be forecast."""

    model_version: Version
    num_sites: Annotated[
        int, Field(ge=0, description="Sites that the version was trained on, or those asked for.", examples=[1])
    ]
    sites: Annotated[list[SiteInfo], Field(description="These sites: all, or `limit` of them after `offset`.")]
    untrained: Annotated[
        list[str],
        Field(
            description="Sites that appeared later: the base answers for them.",
            examples=[["new"]],
        ),
    ]
    next: NextPage


class Week(TypedDict):
    """The next seven days: their total, or the mean of a day where days do not add up."""

    value: Annotated[float, Field(description="What is expected.", examples=[20140])]
    lower: Annotated[float | None, Field(description="Lower end of the 80% band of a total.", examples=[18200])]
    upper: Annotated[float | None, Field(description="Upper end of it.", examples=[22300])]
    last: Annotated[
        float | None, Field(description="The last seven days; null if one of them is unknown.", examples=[19870])
    ]


class SiteOverview(TypedDict):
    """One series of a site."""

    site: SiteName
    metric: Metric
    kind: Annotated[Literal["count", "rate", "other"], Field(description="As in GET /sites.", examples=["count"])]
    additive: Additive
    first_date: Annotated[dt.date | None, Field(description="Day of the first value.", examples=["2020-08-18"])]
    data_until: Annotated[dt.date | None, Field(description="Day of the last value.", examples=["2020-08-19"])]
    age_days: Annotated[int | None, Field(description="From then until today.", examples=[1])]
    is_late: Annotated[bool, Field(description="Whether later days should be here by now.", examples=[False])]
    values: Annotated[
        list[float | None], Field(description="The last days, 42 at most; null where unknown.", examples=[[3478, 2960]])
    ]
    predictions: Annotated[list[Row], Field(description="The next seven days; none if there is an `error`.")]
    week: Annotated[Week | None, Field(description="The next seven days beside the last.")]
    unusual: Annotated[Anomaly | None, Field(description="The last day, if it was unusual at medium sensitivity.")]
    error: Annotated[str | None, Field(description="Why the site is not forecast.", examples=[None])]


class Overview(TypedDict):
    """Sites at a glance."""

    model_version: Version
    num_sites: Annotated[int, Field(ge=0, description="Of the version, that the source has.", examples=[1])]
    sites: Annotated[list[SiteOverview], Field(description="In the order of the version.")]


class Expected(TypedDict):
    """A forecast of one day, made the day before."""

    lower: Annotated[float, Field(description="Lower end of the 80% band.", examples=[3209])]
    value: Annotated[float, Field(description="The median.", examples=[3478])]
    upper: Annotated[float, Field(description="Upper end of the band.", examples=[3729])]


class History(TypedDict):
    """The last days of a series."""

    site: SiteName
    metric: Metric
    kind: Annotated[Literal["count", "rate", "other"], Field(description="As in GET /sites.", examples=["count"])]
    additive: Additive
    first_date: Annotated[dt.date | None, Field(description="Day of the first value.", examples=["2020-08-17"])]
    data_until: Annotated[dt.date | None, Field(description="Day of the last value.", examples=["2020-08-19"])]
    values: Annotated[
        list[float | None],
        Field(description="What was counted each day, in the source's unit.", examples=[[3478, None, 2960]]),
    ]
    expected: Annotated[
        dict[str, Expected], Field(description="What was forecast the day before, of days of which that was kept.")
    ]
    left_out: Annotated[
        dict[str, str],
        Field(description="Days that forecasts do not use, and why.", examples=[{"2020-08-18": "outage"}]),
    ]


class Index(TypedDict):
    """The list of routes."""

    service: Annotated[str, Field(description="This service's name.", examples=["ml-prediction-api"])]
    routes: Annotated[list[str], Field(description="As METHOD /path.", examples=[["GET /health"]])]
    documentation: Annotated[str, Field(description="Path of this description.", examples=["/openapi.json"])]
