"""Which engine a data frame belongs to, by its type. Imports an engine only if a frame of it is there."""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, TypeVar, cast

from forecasting.errors import DataError, SettingError
from forecasting.frames.reading import Columns
from forecasting.settings.bounds import require

ENGINE_ARGUMENTS = ("num_partitions", "assume_whole_series")
COLUMN_ARGUMENTS = ("id_col", "time_col", "target_col")
Method = TypeVar("Method", bound=Callable[..., Any])  # Any: the user's own kind of frame, here and below


@dataclass(frozen=True)
class Engine:
    """`frame_type` is the one that is forecast; `advice` says how to get it from the engine's other types."""

    name: str
    frame_type: str
    advice: str


ENGINES = {  # by the package that a frame's type comes from
    "pyspark": Engine("spark", "pyspark.sql.DataFrame", "of a pandas-on-Spark frame it is df.to_spark()"),
    "dask": Engine("dask", "dask.dataframe.DataFrame", "of a bag or delayed frames it is made by dask.dataframe"),
    "ray": Engine("ray", "ray.data.Dataset", "forecast it before it is grouped"),
}


def spread_over_engines(method: Method) -> Method:
    """The same method for frames of engines, which it returns lazily, and for others as before."""
    signature = inspect.signature(method)

    @functools.wraps(method)
    def run(*given: Any, **named: Any) -> Any:
        call = signature.bind(*given, **named)
        call.apply_defaults()
        forecaster, df, *_ = call.args
        engine = find_engine(df)
        arguments = dict(list(call.arguments.items())[2:])
        placing = {name: arguments.pop(name) for name in ENGINE_ARGUMENTS}
        if engine is None:
            _refuse_engine_arguments(df, placing)
            return method(*given, **named)
        _check_placing(**placing)
        _refuse_regressors(engine, arguments)
        columns = Columns(*(arguments.pop(name) for name in COLUMN_ARGUMENTS))
        request = import_part(engine, "plan").Request(forecaster, method.__name__, columns, arguments)
        return import_part(engine, engine.name).run(df, request, **placing)

    return cast(Method, run)


def find_engine(df: Any) -> Engine | None:
    """Raises DataError for the other types of an engine."""
    package = type(df).__module__.partition(".")[0]
    engine = ENGINES.get(package)
    if engine is None:
        return None
    module, _, name = engine.frame_type.rpartition(".")
    if not isinstance(df, getattr(import_module(module), name)):
        raise DataError(
            f"A {type(df).__module__}.{type(df).__qualname__} cannot be forecast. Give a {engine.frame_type}: "
            f"{engine.advice}."
        )
    return engine


def refuse_engines(df: Any, *, method: str) -> None:
    """For what needs all rows in one process."""
    engine = find_engine(df)
    if engine is not None:
        raise DataError(
            f"{method}() needs the rows in this process, and a {engine.frame_type} is spread over others. Give it some "
            "series as a pandas frame."
        )


def _refuse_engine_arguments(df: Any, given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        if value is not None and value is not False:
            raise SettingError(
                f"{name} is for frames of Spark, Dask and Ray, and this is a {type(df).__module__.partition('.')[0]}."
                f"{type(df).__qualname__}. Leave it out."
            )


def _refuse_regressors(engine: Engine, arguments: Mapping[str, Any]) -> None:
    for name in ("X_df", "regressors"):
        given = arguments.get(name)
        require(
            given is None or (isinstance(given, tuple) and not given),
            f"{name} is not read for a {engine.frame_type}. Leave it out, or give some series as a pandas frame.",
        )


def _check_placing(*, num_partitions: Any, assume_whole_series: Any) -> None:
    is_count = isinstance(num_partitions, int) and not isinstance(num_partitions, bool) and num_partitions > 0
    require(
        num_partitions is None or is_count,
        f"num_partitions is {num_partitions!r}; it must be a whole number of at least 1.",
    )
    require(
        num_partitions is None or not assume_whole_series,
        "With assume_whole_series the partitions stay as the frame has them. Leave out num_partitions.",
    )


def import_part(engine: Engine, module: str) -> ModuleType:
    """Raises SettingError if a package is missing."""
    try:
        return import_module(f"forecasting.frames.engines.{module}")
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        raise SettingError(
            f"Forecasts of a {engine.frame_type} need the package {package}: pip install {package}."
        ) from error
