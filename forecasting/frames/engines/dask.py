"""Forecasts of a Dask data frame: Dask shuffles the rows by id, and runs `map_partitions`."""

import os
from collections.abc import Mapping
from typing import Any

import dask.dataframe as dd
import pandas as pd
import pyarrow as pa
from dask.delayed import delayed

from forecasting.frames.engines.pages import Call
from forecasting.frames.engines.plan import Request, name_needed, plan, refuse_objects

Frame = Any  # a pandas frame: one partition
Types = Mapping[str, Any]  # of columns, as pandas has them


def run(df: dd.DataFrame, request: Request, *, num_partitions: int | None, assume_whole_series: bool) -> dd.DataFrame:
    """Lazily."""
    name = request.columns.id
    rows = df[name_needed(request, list(df.columns))]
    refuse_objects(column for column, dtype in rows._meta.dtypes.items() if str(dtype) == "object")
    call = plan(request, pa.Schema.from_pandas(rows._meta, preserve_index=False), is_whole=assume_whole_series)
    number = num_partitions or max(df.npartitions, os.cpu_count() or 1)  # small files are one partition
    if not assume_whole_series:
        rows = rows.shuffle(on=name, npartitions=number)
    sent = delayed(call, traverse=False)  # once, not with each partition
    types = {column: rows._meta.dtypes[column] for column in (name, request.columns.time)}
    if "cutoff" in call.schema.names:
        types["cutoff"] = types[request.columns.time]
    meta = _to_pandas(call.output.empty_table(), types)
    answer = rows.map_partitions(_run, sent, types, meta=meta)
    if assume_whole_series:
        together = answer.shuffle(on=name, npartitions=number)
        answer = together.map_partitions(_check, sent, types, meta=meta[call.schema.names])
    return answer


def _run(rows: Frame, call: Call, types: Types) -> Frame:
    return _to_pandas(call.run_table(pa.Table.from_pandas(rows, preserve_index=False)), types)


def _check(answer: Frame, call: Call, types: Types) -> Frame:
    table = pa.Table.from_pandas(answer, preserve_index=False)
    return _to_pandas(call.check_whole_table(table.cast(call.output)), types)


def _to_pandas(table: pa.Table, types: Types) -> Frame:
    """With ids and days of the types that the frame has. Each partition may have categories of its own."""
    known = {name: "category" if isinstance(dtype, pd.CategoricalDtype) else dtype for name, dtype in types.items()}
    return table.to_pandas().astype(known)
