"""Arrow in, Arrow out: what runs in the processes of an engine, whichever it is.

Rows come as record batches. They are put together to pages of whole series, each of which a TrafficForecaster gets.
"""

import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import torch

from forecasting.errors import DataError, TooFewDays
from forecasting.frames.engines.sent_model import SentModel
from forecasting.frames.reading import Columns

PAGE_ROWS = 4096 * 90  # some thousand series, which bounds memory
PAGE = "forecasting_page"  # a column of the forecasts while they are checked
CUT = "If partitions may cut series in two, leave out assume_whole_series: rows are then shuffled by"


@dataclass(frozen=True)
class Call:
    """A method of TrafficForecaster on its way to where the rows are.

    With `is_whole`, partitions are said to have whole series. Each row of the outcome then has its page, and a series
    without forecasts has a row too, so that `check_whole` can see series that were cut.
    """

    model: SentModel
    method: str
    columns: Columns
    arguments: Mapping[str, Any]  # Any: as the method takes them
    schema: pa.Schema  # of what the method returns
    is_whole: bool = False

    @property
    def output(self) -> pa.Schema:
        return self.schema.append(pa.field(PAGE, pa.int64())) if self.is_whole else self.schema

    def run(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The rows of a series follow those of another."""
        torch.set_num_threads(1)  # the engine uses the other cores
        forecaster = None
        for page in cut_pages(batches, self.columns.id):
            forecaster = forecaster or self._load()
            yield from self._mark(page, self._answer(forecaster, page)).to_batches()

    def run_table(self, rows: pa.Table) -> pa.Table:
        """Rows in any order."""
        batches = bring_together(rows, self.columns.id).to_batches()
        return pa.Table.from_batches(self.run(batches), self.output)

    def _load(self) -> Any:  # Any: a TrafficForecaster, whose module imports this one
        from forecasting.frames.traffic_forecaster import TrafficForecaster

        return TrafficForecaster.of_model(self.model.load())

    def _answer(self, forecaster: Any, page: pa.Table) -> pa.Table:  # Any: a TrafficForecaster
        columns = self.columns
        arguments = keep_named(self.arguments, columns.id, page[columns.id])
        try:
            table = getattr(forecaster, self.method)(
                page, id_col=columns.id, time_col=columns.time, target_col=columns.target, **arguments
            )
        except TooFewDays as error:
            if arguments.get("drop_short"):  # not even one series of this page has enough
                return self.schema.empty_table()
            raise self._explain(error) from error
        except DataError as error:
            raise self._explain(error) from error
        return table.cast(self.schema)

    def _explain(self, error: DataError) -> DataError:
        where = " Rows are counted within a page of whole series." if str(error).startswith("Row") else ""
        return type(error)(f"{error}{where}{f' {CUT} {self.columns.id}.' if self.is_whole else ''}")

    def _mark(self, page: pa.Table, answer: pa.Table) -> pa.Table:
        if not self.is_whole:
            return answer
        name = self.columns.id
        ids = pc.unique(page[name]).cast(self.schema.field(name).type)
        without = ids.filter(pc.invert(pc.is_in(ids, value_set=pc.unique(answer[name]))))
        rest = {field.name: pa.nulls(len(without), field.type) for field in self.schema if field.name != name}
        joined = pa.concat_tables([answer, pa.table({name: without, **rest}).select(self.schema.names)])
        mark = pa.array(np.full(len(joined), secrets.randbits(63)), pa.int64())
        return joined.append_column(PAGE, mark)

    def check_whole(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Of forecasts shuffled by id. Raises DataError if the rows of a series were in two pages."""
        pairs = []
        for batch in batches:
            pairs.append(
                pa.table({"id": batch[self.columns.id], PAGE: batch[PAGE]}).group_by(["id", PAGE]).aggregate([])
            )
            yield batch.filter(pc.is_valid(batch[self.columns.time])).select(self.schema.names)
        pages = pa.concat_tables(pairs).group_by("id").aggregate([(PAGE, "count_distinct")]) if pairs else None
        if pages is None or not len(pages) or pc.max(pages[f"{PAGE}_count_distinct"]).as_py() == 1:
            return
        cut = pages.filter(pc.greater(pages[f"{PAGE}_count_distinct"], 1))["id"]
        raise DataError(self.describe_cut(str(cut[0].as_py())))

    def describe_cut(self, series: str) -> str:
        return (
            f"The rows of series '{series}' are in two partitions, or in two places of one, though assume_whole_series "
            f"says that they are together. Leave it out: rows are then shuffled by {self.columns.id}."
        )

    def check_whole_table(self, answer: pa.Table) -> pa.Table:
        return pa.Table.from_batches(self.check_whole(answer.to_batches()), self.schema)


def cut_pages(batches: Iterable[pa.RecordBatch], id_name: str, *, num_rows: int = PAGE_ROWS) -> Iterator[pa.Table]:
    """Tables of whole series. What two record batches share is carried over."""
    held: list[pa.RecordBatch] = []
    count, limit = 0, num_rows
    for batch in batches:
        held.append(batch)
        count += batch.num_rows
        if count < limit:
            continue
        table = pa.Table.from_batches(held)
        start = find_last_series(table[id_name])
        if start:
            yield table.slice(0, start)
        held, count = table.slice(start).to_batches(), count - start
        limit = num_rows if start else 2 * count
    if count:
        yield pa.Table.from_batches(held)


def find_last_series(ids: pa.ChunkedArray) -> int:
    """The first row of the last series."""
    values = ids.combine_chunks()
    is_new = pc.fill_null(pc.not_equal(values[1:], values[:-1]), True).to_numpy(zero_copy_only=False)
    return int(np.flatnonzero(is_new)[-1]) + 1 if is_new.any() else 0


def bring_together(rows: pa.Table, id_name: str) -> pa.Table:
    """The rows of each series one after another, in the order in which they are."""
    ids = rows[id_name]
    if pa.types.is_dictionary(ids.type):
        ids = ids.cast(ids.type.value_type)
        rows = rows.set_column(rows.schema.get_field_index(id_name), id_name, ids)
    codes = pd.factorize(ids.to_pandas())[0]
    num_runs = np.count_nonzero(np.diff(codes)) + 1
    return rows if num_runs == codes.max(initial=0) + 1 else rows.take(pa.array(np.argsort(codes, kind="stable")))


def keep_named(arguments: Mapping[str, Any], id_name: str, ids: pa.ChunkedArray) -> dict[str, Any]:
    """Without the countries and events of series that are in other pages."""
    country, events = arguments.get("country"), arguments.get("events")
    kept = dict(arguments)
    if isinstance(country, Mapping) or events is not None:
        names = {str(name) for name in pc.unique(ids).to_pylist()}
        if isinstance(country, Mapping):
            kept["country"] = {name: code for name, code in country.items() if str(name) in names}
        if events is not None and id_name in events.columns:
            own = events[id_name]
            kept["events"] = events[own.isna() | own.astype(str).isin(names)]
    return kept
