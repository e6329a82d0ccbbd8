"""Forecasts of a Spark data frame: Spark shuffles the rows by id, and runs `mapInArrow`."""

import warnings
from collections.abc import Callable, Iterator

import pyarrow as pa
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F  # noqa: N812 - as Spark's own documentation calls it
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import BooleanType, DataType, DoubleType, LongType, TimestampNTZType, TimestampType

from forecasting.frames.engines.pages import PAGE, Call
from forecasting.frames.engines.plan import Request, name_needed, plan

USUAL_PARTITIONS = 200  # Spark's own default
DATETIMES = (TimestampType, TimestampNTZType)


def run(df: DataFrame, request: Request, *, num_partitions: int | None, assume_whole_series: bool) -> DataFrame:
    """Lazily. Days are dates on the way, since Spark sends datetimes in UTC, hours away from the session's days."""
    name, time = request.columns.id, request.columns.time
    rows = df.select(*(F.col(f"`{column}`") for column in name_needed(request, df.columns)))
    time_type = rows.schema[time].dataType
    if isinstance(time_type, DATETIMES):
        rows = rows.withColumn(time, _to_date(time))
    call = plan(request, to_arrow_schema(rows.schema), is_whole=assume_whole_series)
    if not assume_whole_series:
        number = num_partitions or _count_partitions(df)
        rows = rows.repartition(number, F.col(f"`{name}`")).sortWithinPartitions(f"`{name}`", f"`{time}`")
    answer = _map(rows, call.run, _describe(call, call.output, rows))
    if assume_whole_series:
        answer = _check_whole(answer, call)
    days = [column for column in (time, "cutoff") if column in call.schema.names]
    return answer.withColumns({column: F.col(f"`{column}`").cast(time_type) for column in days})


def _map(rows: DataFrame, function: Callable[..., Iterator[pa.RecordBatch]], schema: str) -> DataFrame:
    """Without PySpark's warning of pandas 3, which is of frames of pandas: these are of Arrow. PySpark 4.3 has it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
        return rows.mapInArrow(function, schema)


def _check_whole(answer: DataFrame, call: Call) -> DataFrame:
    """As Call.check_whole does, without another stage of Python."""
    name, time = f"`{call.columns.id}`", f"`{call.columns.time}`"
    of_series = Window.partitionBy(name)
    is_whole = F.min(PAGE).over(of_series) == F.max(PAGE).over(of_series)
    before, after = call.describe_cut("\0").split("\0")
    text = F.concat(F.lit(before), F.col(name).cast("string"), F.lit(after))
    checked = answer.withColumn(call.columns.time, F.when(is_whole, F.col(time)).otherwise(F.raise_error(text)))
    return checked.filter(F.col(time).isNotNull()).select(*(f"`{column}`" for column in call.schema.names))


def _to_date(time: str) -> Column:
    """Refuses times of day, which the cast to a date would cut off."""
    moment = F.col(f"`{time}`")
    text = F.concat(
        F.lit(f"{time} is "),
        moment.cast("string"),
        F.lit(" in the time zone "),
        F.current_timezone(),
        F.lit(
            ", which is a time of day; forecasts are of whole days. Add up each day, make it a date with "
            f"F.to_date({time!r}), or set spark.sql.session.timeZone to the zone in which the days begin."
        ),
    )
    is_day = moment.isNull() | (moment == F.date_trunc("day", moment))
    return F.when(is_day, moment.cast("date")).otherwise(F.raise_error(text))


def _count_partitions(df: DataFrame) -> int:
    """As many as Spark's own shuffles have. Without a number Spark would join small ones to one."""
    setting = str(df.sparkSession.conf.get("spark.sql.shuffle.partitions"))
    return int(setting) if setting.isdecimal() else USUAL_PARTITIONS  # Databricks also has "auto"


def _describe(call: Call, schema: pa.Schema, rows: DataFrame) -> str:
    """The schema as Spark writes it. Ids and text days keep their type."""
    types = {field.name: field.dataType for field in rows.schema.fields}
    columns = [f"`{field.name}` {_find_type(field, call, types).simpleString()}" for field in schema]
    return ", ".join(columns)


def _find_type(field: pa.Field, call: Call, types: dict[str, DataType]) -> DataType:
    if field.name in (call.columns.id, call.columns.time):
        return types[field.name]
    if pa.types.is_boolean(field.type):
        return BooleanType()
    if pa.types.is_integer(field.type):
        return LongType()
    return types[call.columns.time] if field.name == "cutoff" else DoubleType()
