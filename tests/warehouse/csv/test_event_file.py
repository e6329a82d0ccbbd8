"""A CSV file of events: what is read, and what is refused, by its line."""

from pathlib import Path

import pytest

from forecasting.errors import DataError
from forecasting.known_days.events import Event
from forecasting.warehouse.csv.event_file import read_event_file, read_events

DAY = 20_784  # 2026-11-27


def write(folder: Path, text: str) -> Path:
    file = folder / "events.csv"
    file.write_text(text)
    return file


def test_columns_may_be_left_out_and_stand_in_any_order(tmp_path: Path) -> None:
    rows = read_event_file(write(tmp_path, "name,first_day\nSale,2026-11-27\n"))
    assert [(row.event, row.note) for row in rows] == [(Event("Sale", DAY, DAY), "")]
    lines = (
        "First_Day;last_day;site;name;size;note",
        '2026-11-27;2026-11-30;shop;"Sale; big";1.5;as planned',
        "2026-11-28;;;Mail;;",
    )
    rows = read_event_file(write(tmp_path, "\n".join(lines)))
    assert [(row.event, row.note) for row in rows] == [
        (Event("Sale; big", DAY, DAY + 3, "shop", 1.5), "as planned"),
        (Event("Mail", DAY + 1, DAY + 1), ""),
    ]
    assert len(read_events(None)) == 0


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("27.11.2026,,Sale,", "line 3: first_day is '27.11.2026', which is no day. Write it as 2026-11-27."),
        ("2026-11-27,2026-11-26,Sale,", "line 3: last_day is 2026-11-26, before first_day, 2026-11-27. Swap them."),
        ("2026-11-27,,,", "line 3: the event has no name. Give it one: events of the same name are of the same kind."),
        (
            "2026-11-27,,Sale,0",
            "line 3: size is '0'; it must be a number from 0.01 to 100, such as 1.5 for half as many again. Leave it "
            "empty if it is not known.",
        ),
        (
            "2026-11-27,,Sale,+50%",
            "line 3: size is '+50%'; it must be a number from 0.01 to 100, such as 1.5 for half as many again. Leave "
            "it empty if it is not known.",
        ),
        (
            "2026-11-27,,Sale,1,5",
            "line 3: 5 fields, but the first line names 4. Quote fields that contain a comma.",
        ),
    ],
)
def test_rows_that_are_no_events_are_refused(tmp_path: Path, row: str, fault: str) -> None:
    file = write(tmp_path, f"first_day,last_day,name,size\n2026-01-01,,Party,2\n{row}\n")
    with pytest.raises(DataError) as refusal:
        read_event_file(file)
    assert str(refusal.value) == f"{file}, {fault}"


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        (
            "day,name",
            "has no column first_day. Its first line must be site,first_day,last_day,name,size,note, or a part of it.",
        ),
        ("first_day,name,First_day", "has two columns first_day. Keep one."),
        (
            "first_day,name,factor",
            "has a column 'factor', which no event has. Its first line may be site,first_day,last_day,name,size,note.",
        ),
    ],
)
def test_headers_that_are_none_of_events_are_refused(tmp_path: Path, header: str, fault: str) -> None:
    file = write(tmp_path, f"{header}\n2026-01-01,Party,2\n")
    with pytest.raises(DataError) as refusal:
        read_event_file(file)
    assert str(refusal.value) == f"{file} {fault}"
