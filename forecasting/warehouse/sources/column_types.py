"""Columns of daily_metrics that hold numbers or days in a type that is neither, and the SQL that changes it."""

from forecasting.warehouse.queries import Connection
from forecasting.warehouse.session import quote_name

TEXTS = ("text", "character varying", "character")
INTEGERS = ("integer", "bigint", "numeric", "double precision")
NUMBER = r"^\s*[+-]?(\d+|\d{1,3}(,\d{3})+)(\.\d+)?\s*$"
# The greatest value of a column of days tells what it counts. Seconds since 1970 pass the first of these in 1973.
LEAST_OF_EPOCHS = ((10**14, " / 1000000.0"), (10**11, " / 1000.0"), (10**8, ""))
DATES_AS_NUMBERS = (19_000_101, 29_991_231)
TEXT_DATES = (  # the first pattern that any text matches tells how to read them all
    (r"^\s*\d{4}-\d{2}-\d{2}", "{column}::date"),
    (r"^\s*\d{8}\s*$", "to_date(trim({column}), 'YYYYMMDD')"),
    (r"^\s*\d{1,2}\.\d{1,2}\.\d{4}\s*$", "to_date({column}, 'DD.MM.YYYY')"),
    (r"^\s*(1[3-9]|2\d|3[01])/\d{1,2}/\d{4}\s*$", "to_date({column}, 'DD/MM/YYYY')"),
    (r"^\s*\d{1,2}/(1[3-9]|2\d|3[01])/\d{4}\s*$", "to_date({column}, 'MM/DD/YYYY')"),
)


def change_type(column: str, new_type: str, expression: str, *, has_default: bool) -> str:
    """SQL. A default stands in the way of a new type."""
    drop = f"ALTER COLUMN {column} DROP DEFAULT, " if has_default else ""
    return f"ALTER TABLE daily_metrics {drop}ALTER COLUMN {column} TYPE {new_type} USING {expression};"


async def describe_number_column(connection: Connection, name: str, type_: str, *, has_default: bool) -> str | None:
    """Why the column is left out, with the SQL that makes it a metric; None if it holds no number."""
    column = quote_name(name)
    new_type, expression = {
        "money": ("numeric", f"{column}::numeric"),
        "interval": ("double precision", f"extract(epoch from {column})"),
    }.get(
        type_,
        ("double precision", f"CASE WHEN {column} ~ '{NUMBER}' THEN replace({column}, ',', '')::double precision END"),
    )
    if type_ in TEXTS:
        statement = f"select exists (select from daily_metrics where {column} ~ $1)"  # noqa: S608 - quoted
        if not await connection.fetchval(statement, NUMBER):
            return None
    elif type_ not in ("money", "interval"):
        return None
    return (
        f"the column {name} of daily_metrics has the type {type_}, which is no number, so it is left out. To make it a "
        f"metric, run: {change_type(column, new_type, expression, has_default=has_default)}"
    )


async def find_day_expression(connection: Connection, type_: str) -> str | None:
    """SQL that makes a day of the column `date`. None if nobody can tell what it holds."""
    if type_ in TEXTS:
        for pattern, expression in TEXT_DATES:
            if await connection.fetchval("select exists (select from daily_metrics where date ~ $1)", pattern):
                return expression.format(column="date")
    if type_ in INTEGERS:
        most = await connection.fetchval("select max(date)::double precision from daily_metrics")
        return None if most is None else _day_of_number(most)
    return None


def _day_of_number(most: float) -> str:
    if DATES_AS_NUMBERS[0] <= most <= DATES_AS_NUMBERS[1]:
        return "to_date(date::bigint::text, 'YYYYMMDD')"
    for least, divisor in LEAST_OF_EPOCHS:
        if most >= least:
            return f"(to_timestamp(date{divisor}) AT TIME ZONE 'UTC')::date"
    return "date '1970-01-01' + date::integer"
