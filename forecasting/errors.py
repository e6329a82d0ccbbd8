"""Every error that the package raises on purpose. Each message says what was wrong, what was found, and what to do.

ForecastingError
├── SettingError (ValueError)      a flag, a key=value, a yaml file or a variable that cannot be used
│   └── InvalidVersion             a version name that could not be a folder
├── DataError (ValueError)         the traffic itself
│   ├── TooFewDays                 fewer than 30 days of a series
│   ├── DuplicateDays              two values for one day of one series
│   ├── UnknownMetric              asked for a metric that is not there   (HTTP 400)
│   ├── UnknownSite                asked for a site that is not there     (HTTP 400)
│   ├── AmbiguousUnit              a rate whose unit nobody said
│   └── UndefinedMetric            an error measure that would divide by zero
├── WarehouseError                 PostgreSQL
│   ├── CannotConnect              no answer, or the door stayed shut
│   ├── MissingTable               a table of the source is not there, or may not be read
│   ├── SourceTooSlow              the source's server ended a statement that took too long
│   ├── InvalidQuery               the user's own query is none, or does not return what it must
│   ├── WouldForget                days that are kept would be lost, and nobody said that they may be
│   └── SchemaNotWritable          our own schema `forecasting` is not there and may not be made, or may not be written
├── ArtifactError                  a version in model_store/
│   ├── UnknownVersion             there is no such version   (HTTP 400)
│   ├── BrokenArtifact             files are missing or are not what model.json says   (HTTP 409)
│   └── StoreNotWritable           MODEL_DIR cannot be written
└── ServingError                   TorchServe and the shim
    ├── CannotStart                Java, a port or an archive is missing
    ├── CannotPromote              another version may not be served just now   (HTTP 409)
    ├── UnknownPromotion           no promotion has this id   (HTTP 404)
    ├── Unavailable                a part is down now; asking again later may work   (HTTP 503)
    ├── TimedOut                   no answer within the deadline   (HTTP 504)
    └── BadAnswer                  TorchServe answered what a forecast cannot be   (HTTP 502)
"""

from collections.abc import Collection


class ForecastingError(Exception):
    """The root: scripts print its text and exit with 1."""


class SettingError(ForecastingError, ValueError):
    """Scripts exit with 2, as for any misuse of the command line."""


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


class WouldForget(WarehouseError): ...


class SourceTooSlow(WarehouseError): ...


class InvalidQuery(WarehouseError): ...


class SchemaNotWritable(WarehouseError): ...


class ArtifactError(ForecastingError): ...


class UnknownVersion(ArtifactError): ...


class BrokenArtifact(ArtifactError): ...


class StoreNotWritable(ArtifactError): ...


class ServingError(ForecastingError): ...


class CannotStart(ServingError): ...


class CannotPromote(ServingError): ...


class UnknownPromotion(ServingError): ...


class Unavailable(ServingError): ...


class TimedOut(ServingError): ...


class BadAnswer(ServingError): ...


def name_some(names: Collection[str], *, at_most: int = 20) -> str:
    """In their order by name, and how many more there are: thousands of sites are no message."""
    named = sorted(names)[:at_most]
    more = len(names) - len(named)
    return ", ".join(named) + (f" and {more:,} more" if more > 0 else "")
