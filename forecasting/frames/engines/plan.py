"""What can be checked before an engine starts: arguments, columns and types, by a call on one made series."""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import pyarrow as pa

from forecasting.errors import DataError
from forecasting.frames.engines.pages import Call
from forecasting.frames.reading import Columns
from forecasting.settings.countries import OFF, check_country

FIRST_DAY, NUM_DAYS = dt.date(2000, 1, 3), 120


@dataclass(frozen=True)
class Wanted:
    """What a column must have, by its type."""

    name: str
    fits: Callable[[pa.DataType], bool]


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


TEXT = Wanted("text", _is_text)
IDS = Wanted("text or whole numbers", lambda kind: _is_text(kind) or pa.types.is_integer(kind))
DAYS = Wanted(
    "dates, datetimes or text such as 2024-01-31",
    lambda kind: _is_text(kind) or pa.types.is_date(kind) or pa.types.is_timestamp(kind),
)
NUMBERS = Wanted("numbers", _is_number)


@dataclass(frozen=True)
class Request:
    """A call of a method, with a frame of an engine. `forecaster` is a TrafficForecaster."""

    forecaster: Any  # Any: its module imports this one
    method: str
    columns: Columns
    arguments: Mapping[str, Any]


def name_needed(request: Request, there: Sequence[str]) -> list[str]:
    """The columns that the processes need. Raises DataError if one is missing."""
    columns = request.columns
    names = {"id_col": columns.id, "time_col": columns.time, "target_col": columns.target}
    for argument, name in names.items():
        if name not in there:
            raise DataError(
                f"There is no column {name!r}; the frame has: {', '.join(there) or 'none'}. Name yours with "
                f"{argument}=."
            )
    kinds = [name for name in there if name == request.arguments.get("kind")]
    return list(dict.fromkeys([*names.values(), *kinds]))


def refuse_objects(names: Iterable[str]) -> None:
    """For columns whose type an engine does not know before it reads them."""
    for name in names:
        raise DataError(
            f"Column {name} has Python objects, whose type is not known before they are read. Make days datetimes with "
            "pd.to_datetime, ids text, and numbers floats."
        )


def plan(request: Request, schema: pa.Schema, *, is_whole: bool) -> Call:
    """`schema` is that of the needed columns. Raises what the method raises for its arguments, and DataError for a type
    that it cannot read.
    """
    columns = request.columns
    arguments = {**request.arguments, **_read_events(request.arguments)}
    answer = getattr(request.forecaster, request.method)(
        _make_series(schema, columns, arguments),
        id_col=columns.id,
        time_col=columns.time,
        target_col=columns.target,
        **{**arguments, **_check_unnamed(arguments, columns.id)},
    )
    return Call(request.forecaster.send(), request.method, columns, arguments, answer.schema, is_whole)


def _read_events(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Pages take their own events out of a pandas frame."""
    events = arguments.get("events")
    if events is None:
        return {}
    try:
        return {"events": nw.from_native(events, eager_only=True).to_pandas()}
    except TypeError as error:
        raise DataError(f"events is a {type(events).__name__}; give a data frame with ds and event.") from error


def _check_unnamed(arguments: Mapping[str, Any], id_name: str) -> dict[str, Any]:
    """Countries and events as those of any series, so that each is checked."""
    checked: dict[str, Any] = {}
    country = arguments.get("country")
    if isinstance(country, Mapping):
        for name, code in country.items():
            if code != OFF:
                check_country(f"country[{name!r}]", code)
        checked["country"] = None
    if arguments.get("events") is not None:
        checked["events"] = arguments["events"].drop(columns=id_name, errors="ignore")
    return checked


def _make_series(schema: pa.Schema, columns: Columns, arguments: Mapping[str, Any]) -> pa.Table:
    """Of ones: as counts, as rates and as other numbers they are right."""
    num_days = NUM_DAYS + arguments.get("n_windows", 0) * arguments.get("step_size", 0)
    days = [str(FIRST_DAY + dt.timedelta(number)) for number in range(num_days)]
    made: dict[str, list[Any]] = {columns.id: ["1"] * num_days, columns.time: days, columns.target: [1] * num_days}
    if arguments.get("kind") in schema.names:
        made[arguments["kind"]] = ["count"] * num_days
    checks = {columns.id: IDS, columns.time: DAYS, columns.target: NUMBERS}
    return pa.table({field.name: _cast(made[field.name], field, checks.get(field.name, TEXT)) for field in schema})


def _cast(values: list[Any], field: pa.Field, wanted: "Wanted") -> pa.Array:  # Any: text or numbers
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if not wanted.fits(kind):
        raise DataError(f"Column {field.name} is of the type {kind}; it must have {wanted.name}.")
    return pa.array(values).cast(kind)
