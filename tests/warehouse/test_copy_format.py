"""The binary COPY format beside what PostgreSQL itself writes and reads."""

import asyncio
import datetime as dt
import io
import struct

import numpy as np
import pytest

from forecasting.domain import to_day
from forecasting.settings.schema import DatabaseConfig
from forecasting.warehouse.connection import connect
from forecasting.warehouse.copy_format import (
    decode_arrays,
    decode_texts,
    encode_dates,
    encode_doubles,
    encode_nulls,
    encode_real_arrays,
    encode_texts,
    join_rows,
    split_rows,
)

TEXTS = ["blog", "", "Zürich 🚲", 'it\'s\n-- $1 "odd"\\', "x" * 70_000]
DATES = [dt.date(2024, 2, 29), dt.date(2000, 1, 1), dt.date(1969, 12, 31), dt.date(1, 1, 2), dt.date(9999, 12, 30)]
VALUES = np.array([[0, -1.5], [np.inf, np.nan], [3e38, 1e-40], [0.1, -0.0], [7, 8]], np.float32)
MADE = """
select t.site, t.day, array[t.a, t.b] from unnest($1::text[], $2::date[], $3::real[], $4::real[])
    with ordinality as t (site, day, a, b, number) order by t.number
"""


async def copy_by_postgresql(config: DatabaseConfig, query: str, *values: object) -> bytes:
    connection = await connect(config)
    target = io.BytesIO()
    await connection.copy_from_query(query, *values, output=target, format="binary")
    await connection.close()
    return target.getvalue()


def encode() -> bytes:
    days = np.array([to_day(date) for date in DATES])
    return join_rows(encode_texts(TEXTS), encode_dates(days), encode_real_arrays(VALUES))


def test_bytes_are_those_that_postgresql_writes(embedded: DatabaseConfig) -> None:
    written = asyncio.run(
        copy_by_postgresql(embedded, MADE, TEXTS, DATES, VALUES[:, 0].tolist(), VALUES[:, 1].tolist())
    )
    assert encode() == written


def test_postgresql_reads_them(database: DatabaseConfig) -> None:
    async def run() -> list[tuple[str, dt.date, list[float]]]:
        connection = await connect(database, writable=True)
        await connection.execute("create table arrived (number serial, site text, day date, values real[])")
        columns = ["site", "day", "values"]
        await connection.copy_to_table("arrived", source=io.BytesIO(encode()), columns=columns, format="binary")
        rows = await connection.fetch("select site, day, values from arrived order by number")
        await connection.close()
        return [tuple(row) for row in rows]

    rows = asyncio.run(run())
    assert [row[0] for row in rows] == TEXTS
    assert [row[1] for row in rows] == DATES
    np.testing.assert_array_equal(np.array([row[2] for row in rows], np.float32), VALUES)


def test_nothing_is_a_copy_too(embedded: DatabaseConfig) -> None:
    written = asyncio.run(copy_by_postgresql(embedded, MADE, [], [], [], []))
    none = join_rows(encode_texts([]), encode_dates(np.empty(0, np.int64)), encode_real_arrays(np.empty((0, 2))))
    assert none == written
    assert split_rows(written, num_fields=3) == [[], [], []]


@pytest.mark.parametrize(("dtype", "name"), [("i4", "integer"), ("f4", "real"), ("f8", "double precision")])
def test_arrays_of_any_length_are_read(embedded: DatabaseConfig, dtype: str, name: str) -> None:
    query = f"""
        select 'row ' || n, array(select (n * 1000 + k)::{name} from generate_series(1, n) as k), nullif(n, 3)
        from generate_series(0, 300) as n
    """  # noqa: S608 - ours
    data = asyncio.run(copy_by_postgresql(embedded, query))
    texts, arrays, numbers = split_rows(data, num_fields=3)
    assert decode_texts(texts) == [f"row {n}" for n in range(301)]
    assert [number is None for number in numbers] == [n == 3 for n in range(301)]
    elements, counts = decode_arrays(arrays, dtype)
    np.testing.assert_array_equal(counts, np.arange(301))
    expected = np.concatenate([n * 1000 + np.arange(1, n + 1) for n in range(301)])
    np.testing.assert_array_equal(elements, expected.astype(dtype))


def test_fields_by_hand() -> None:
    """Four bytes of length, then the value, all big-endian; a NULL is the length -1 alone."""
    null = b"\xff\xff\xff\xff"
    assert encode_texts(["ab", ""]) == [b"\0\0\0\2ab", b"\0\0\0\0"]
    assert encode_dates(np.array([to_day(dt.date(2000, 1, 2))])) == [b"\0\0\0\4\0\0\0\1"]
    assert encode_doubles(np.array([1.5, np.nan, -0.25])) == [
        b"\0\0\0\x08" + struct.pack(">d", 1.5),
        null,
        b"\0\0\0\x08" + struct.pack(">d", -0.25),
    ]
    assert encode_doubles(np.empty(0)) == []
    assert encode_nulls(3) == [null, null, null]


def test_empty_field_is_no_null() -> None:
    row = b"\0\3" + b"\0\0\0\0" + b"\xff\xff\xff\xff" + b"\0\0\0\1x"
    header = b"PGCOPY\n\xff\r\n\0" + b"\0\0\0\0" * 2
    assert split_rows(header + row + row + b"\xff\xff", num_fields=3) == [[b"", b""], [None, None], [b"x", b"x"]]
