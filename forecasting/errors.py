"""Every error that the package raises on purpose. Each message says what was wrong, what was found, and what to do.

ForecastingError
├── SettingError (ValueError)      an unusable flag, key=value, yaml file or variable
│   └── InvalidVersion             a version name that cannot be a folder
├── DataError (ValueError)         the traffic itself
│   ├── TooFewDays                 fewer than 30 days of a series
│   ├── DuplicateDays              two values for one day of one series
│   ├── UnknownMetric              no such metric   (HTTP 400)
│   ├── UnknownSite                no such site     (HTTP 400)
│   ├── AmbiguousUnit              a rate of unknown unit
│   └── UndefinedMetric            an error measure that would divide by zero
├── WarehouseError                 PostgreSQL
│   ├── CannotConnect              no answer, or the server refused the connection
│   ├── MissingTable               the source lacks a table, or this user may not read it
│   ├── SourceTooSlow              the source's server cancelled a statement that took too long
│   ├── UnknownAnomaly             no unusual day has this id   (HTTP 404)
│   ├── InvalidQuery               the user's own query fails, or does not return the required columns
│   ├── WouldLoseDays              stored days would be lost, and nobody allowed that
│   └── SchemaNotWritable          our own schema `forecasting` cannot be created or written
├── ArtifactError                  a version in model_store/
│   ├── UnknownVersion             no such version   (HTTP 400)
│   ├── BrokenArtifact             files are missing or do not match model.json   (HTTP 409)
│   ├── StoreNotWritable           MODEL_DIR cannot be written
│   └── VersionInUse               a version that is served, pinned or the previous one cannot be deleted
├── ProcessLost                    another process of a training has ended
├── AlreadyRunning                 another process, maybe on another host, does this job now
├── JobFailed                      a step of the daily job has failed
└── ServingError                   TorchServe and the shim
    ├── CannotStart                Java, a port or an archive is missing
    ├── NoRoom                     a disk that serving needs is full
    ├── CannotPromote              this version cannot be promoted now   (HTTP 409)
    ├── UnknownPromotion           no promotion has this id   (HTTP 404)
    ├── Unavailable                a part is down; retry later   (HTTP 503)
    ├── ServiceClosed              this PredictionService is closed, or belongs to another process
    ├── TimedOut                   no answer within the deadline   (HTTP 504)
    └── BadAnswer                  TorchServe's answer is not a forecast   (HTTP 502)
"""

from collections.abc import Collection


class ForecastingError(Exception):
    """The root. Commands print its text and exit with 1."""


class SettingError(ForecastingError, ValueError):
    """Commands exit with 2, as for any misuse of the command line."""


class InvalidVersion(SettingError): ...


class DataError(ForecastingError, ValueError): ...


class TooFewDays(DataError): ...


class DuplicateDays(DataError): ...


class UnknownMetric(DataError): ...


class UnknownSite(DataError): ...


class AmbiguousUnit(DataError): ...


class UndefinedMetric(DataError): ...


class WarehouseError(ForecastingError): ...


class CannotConnect(WarehouseError): ...


class MissingTable(WarehouseError): ...


class WouldLoseDays(WarehouseError): ...


class UnknownAnomaly(WarehouseError): ...


class SourceTooSlow(WarehouseError): ...


class InvalidQuery(WarehouseError): ...


class SchemaNotWritable(WarehouseError): ...


class ArtifactError(ForecastingError): ...


class UnknownVersion(ArtifactError): ...


class BrokenArtifact(ArtifactError): ...


class StoreNotWritable(ArtifactError): ...


class VersionInUse(ArtifactError): ...


class ProcessLost(ForecastingError): ...


class AlreadyRunning(ForecastingError): ...


class JobFailed(ForecastingError): ...


class ServingError(ForecastingError): ...


class CannotStart(ServingError): ...


class NoRoom(ServingError): ...


class CannotPromote(ServingError): ...


class UnknownPromotion(ServingError): ...


class Unavailable(ServingError): ...


class ServiceClosed(ServingError): ...


class TimedOut(ServingError): ...


class BadAnswer(ServingError): ...


def name_some(names: Collection[str], *, at_most: int = 20) -> str:
    """The first names in order, and how many more there are, so that messages stay short."""
    first = sorted(names)[:at_most]
    more = len(names) - len(first)
    return ", ".join(first) + (f" and {more:,} more" if more > 0 else "")


def unknown_site(site: str, known: Collection[str]) -> UnknownSite:
    return UnknownSite(f"There is no site {site!r}. Sites: {name_some(known)}.")


def unknown_metric(metric: str, known: Collection[str]) -> UnknownMetric:
    return UnknownMetric(f"There is no metric {metric!r}. Metrics: {name_some(known)}.")
