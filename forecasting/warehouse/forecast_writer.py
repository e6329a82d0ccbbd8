"""`forecasting.forecasts`, our own table: forecasts written back in bulk."""

import datetime as dt
import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from forecasting.domain import SeriesKey
from forecasting.warehouse.connection import translate_errors
from forecasting.warehouse.copy_format import encode_dates, encode_real_arrays, encode_texts, join_rows
from forecasting.warehouse.queries import Connection, load_query

COLUMNS = ("site", "metric", "cutoff", "quantiles")


def encode_forecasts(
    keys: Sequence[SeriesKey],
    cutoffs: Int[np.ndarray, " series"],
    quantiles: Float[np.ndarray, "series days levels"],
) -> bytes:
    """What `write_forecasts` sends: one row per series, which the server splits into days. That is less to send."""
    sites, metrics = [site for site, _ in keys], [metric for _, metric in keys]
    flat = quantiles.reshape(len(keys), quantiles.shape[1] * quantiles.shape[2])
    return join_rows(encode_texts(sites), encode_texts(metrics), encode_dates(cutoffs), encode_real_arrays(flat))


async def write_forecasts(
    connection: Connection, encoded: bytes, *, version: str, made_at: dt.datetime, num_levels: int
) -> int:
    """Writes the forecasts in one transaction. Returns how many rows are new or changed."""
    with translate_errors("writing forecasts"):
        async with connection.transaction():
            await connection.execute(load_query("create_incoming_forecasts"))
            await connection.copy_to_table(
                "incoming_forecasts",
                schema_name="pg_temp",
                source=io.BytesIO(encoded),
                columns=COLUMNS,
                format="binary",
            )
            status = await connection.execute(load_query("write_forecasts"), version, made_at, num_levels)
    return int(status.rsplit(" ", 1)[1])
