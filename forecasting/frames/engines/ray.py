"""Forecasts of a Ray dataset: Ray shuffles the rows by id, and runs `map_batches`."""

import pyarrow as pa
from ray.data import Dataset

from forecasting.frames.engines.plan import Request, name_needed, plan, refuse_objects


def run(df: Dataset, request: Request, *, num_partitions: int | None, assume_whole_series: bool) -> Dataset:
    """Lazily. A block of a shuffle by keys is a batch: Ray's own groupby relies on that, too."""
    keys = [request.columns.id]
    schema = df.schema()
    types = dict(zip(schema.names, schema.types, strict=True))
    needed = name_needed(request, schema.names)
    refuse_objects(name for name in needed if not isinstance(types[name], pa.DataType))
    rows = df.select_columns(needed)
    call = plan(request, pa.schema([(name, types[name]) for name in needed]), is_whole=assume_whole_series)
    number = num_partitions or df.context.default_hash_shuffle_parallelism
    if not assume_whole_series:
        rows = rows.repartition(number, keys=keys)
    answer = rows.map_batches(call.run_table, batch_format="pyarrow", batch_size=None)
    if assume_whole_series:
        together = answer.repartition(number, keys=keys)
        answer = together.map_batches(call.check_whole_table, batch_format="pyarrow", batch_size=None)
    return answer
