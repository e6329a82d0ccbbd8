"""PostgreSQL's binary COPY format, decoded to and encoded from numpy. Pure: no connection, no query.

Source: PostgreSQL's documentation of COPY, "Binary Format", and for arrays src/backend/utils/adt/arrayfuncs.c.
"""

import struct
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Shaped

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)  # no flags, no extension
TRAILER = b"\xff\xff"
REAL_OID = 700  # of float4: an array names the type of its elements
DATES_SINCE = 10957  # 2000-01-01, in days since 1970-01-01
ARRAY_HEADER = 20  # bytes before the elements of an array with one axis; an empty array is shorter than this

Field = bytes | None  # of a row, without its length; None for NULL

_length = struct.Struct(">i")
_count = struct.Struct(">h")


def split_rows(data: bytes, *, num_fields: int) -> list[list[Field]]:
    """The fields of each column of a complete COPY."""
    columns: list[list[Field]] = [[] for _ in range(num_fields)]
    offset = len(HEADER)
    while _count.unpack_from(data, offset)[0] == num_fields:  # -1 marks the end
        offset += _count.size
        for column in columns:
            (length,) = _length.unpack_from(data, offset)
            offset += _length.size
            column.append(data[offset : offset + length] if length >= 0 else None)
            offset += max(length, 0)
    return columns


def decode_texts(column: Sequence[Field]) -> list[str]:
    return [str(field, "utf-8") if field is not None else "" for field in column]


def decode_arrays(
    column: Sequence[Field], dtype: str
) -> tuple[Shaped[np.ndarray, " elements"], Int[np.ndarray, " rows"]]:
    """The elements of all rows' arrays, row after row, and the number of elements in each row. None may be NULL.

    `dtype`: i4 for integer, f4 for real, f8 for double precision.
    """
    bodies = [field[ARRAY_HEADER:] if field is not None else b"" for field in column]
    element = np.dtype([("length", ">i4"), ("value", f">{dtype}")])
    elements = np.frombuffer(b"".join(bodies), element)["value"].astype(dtype)
    return elements, np.array([len(body) // element.itemsize for body in bodies], np.int64)


def decode_dates(column: Sequence[Field]) -> Int[np.ndarray, " rows"]:
    """Date fields as days since 1970-01-01. None may be NULL."""
    return np.frombuffer(b"".join(field or b"" for field in column), ">i4").astype(np.int64) + DATES_SINCE


def decode_doubles(column: Sequence[Field]) -> Float[np.ndarray, " rows"]:
    """NULL becomes NaN."""
    null = struct.pack(">d", np.nan)
    return np.frombuffer(b"".join(null if field is None else field for field in column), ">f8").astype(np.float64)


def encode_texts(texts: Sequence[str]) -> list[bytes]:
    """Fields with their lengths, for `join_rows` and `encode_rows`."""
    return [_length.pack(len(field)) + field for field in (text.encode() for text in texts)]


def encode_dates(days: Int[np.ndarray, " rows"]) -> list[bytes]:
    """Days since 1970-01-01 as date fields."""
    return _cut(np.stack([np.full_like(days, 4), days - DATES_SINCE], 1).astype(">i4"))


def encode_doubles(values: Float[np.ndarray, " rows"]) -> list[bytes]:
    """NaN becomes NULL."""
    fields = np.zeros(len(values), [("length", ">i4"), ("value", ">f8")])
    fields["length"], fields["value"] = 8, values
    null = _length.pack(-1)
    return [null if missing else field for field, missing in zip(_cut(fields), np.isnan(values), strict=True)]


def encode_nulls(num_rows: int) -> list[bytes]:
    return [_length.pack(-1)] * num_rows


def encode_real_arrays(values: Float[np.ndarray, "rows elements"]) -> list[bytes]:
    """One real[] per row, without NULLs."""
    num_rows, num_elements = values.shape
    element = np.dtype([("length", ">i4"), ("value", ">f4")])
    fields = np.zeros(num_rows, [("length", ">i4"), ("header", ">i4", 5), ("elements", element, num_elements)])
    fields["length"] = fields.dtype.itemsize - _length.size
    fields["header"] = (1, 0, REAL_OID, num_elements, 1)  # axes, has NULLs, element type, size, first index
    fields["elements"]["length"] = 4
    fields["elements"]["value"] = values
    return _cut(fields)


def join_rows(*columns: Sequence[bytes]) -> bytes:
    """A complete COPY of the columns' encoded fields."""
    return b"".join((HEADER, encode_rows(*columns), TRAILER))


def encode_rows(*columns: Sequence[bytes]) -> bytes:
    """Rows of a COPY, without its header and trailer."""
    count = _count.pack(len(columns))
    return b"".join(count + b"".join(fields) for fields in zip(*columns, strict=True))


def _cut(rows: Shaped[np.ndarray, " rows ..."]) -> list[bytes]:
    """Each row's bytes."""
    data = rows.tobytes()
    width = len(data) // max(1, len(rows))
    return [data[start : start + width] for start in range(0, len(data), width)] if data else []
