"""Which days of the past a day ahead may repeat, beside Python's own calendar."""

from datetime import date, timedelta

import torch

from forecasting.model.earlier_days import (
    DAYS_OF_400_YEARS,
    MONTHS,
    WEEKS,
    EarlierDays,
    day_of_month,
    make_calendar,
    read_inputs,
)

EPOCH = date(1970, 1, 1)
CONTEXT, HORIZON = 84, 28


def windows() -> tuple[torch.Tensor, torch.Tensor]:
    """Windows that start on each day of two years, one a leap year. Values are day numbers."""
    first = torch.arange((date(2023, 1, 1) - EPOCH).days, (date(2025, 1, 1) - EPOCH).days)
    return (first[:, None] + torch.arange(CONTEXT)).float(), first


def find_earlier_days(values: torch.Tensor, known: torch.Tensor, first: torch.Tensor, *, horizon: int) -> EarlierDays:
    days = torch.stack([torch.where(known, values, 0.0), known.float()], 1)
    inputs = read_inputs(days, first + values.shape[1], make_calendar(), horizon=horizon)
    return EarlierDays.from_inputs(inputs, horizon)


def months_earlier(day: date, months: int) -> date | None:
    year, month = divmod(12 * day.year + day.month - 1 - months, 12)
    try:
        return day.replace(year=year, month=month + 1)
    except ValueError:  # that month is shorter
        return None


def test_days_of_the_month_are_those_of_the_calendar() -> None:
    days = torch.arange(-1000, 60_000)
    assert day_of_month(days).tolist() == [(EPOCH + timedelta(days=day)).day for day in days.tolist()]


def test_earlier_days_are_those_of_the_calendar() -> None:
    values, first = windows()
    earlier = find_earlier_days(values, torch.ones_like(values, dtype=torch.bool), first, horizon=HORIZON)
    for row, start in enumerate(first.tolist()):
        last = start + CONTEXT - 1
        for ahead in range(HORIZON):
            day = EPOCH + timedelta(days=last + 1 + ahead)
            weeks = [last + 1 + ahead % 7 - 7 * week for week in range(1, WEEKS + 1)]
            dates = [months_earlier(day, months) for months in range(1, MONTHS + 1)]
            numbers = weeks + [(earlier_date - EPOCH).days if earlier_date else start - 1 for earlier_date in dates]
            expected = [number if start <= number <= last else 0 for number in numbers]
            assert earlier.z[row, ahead].tolist() == expected
            assert earlier.known[row, ahead].tolist() == [number > 0 for number in expected]
            assert bool(earlier.is_first[row, ahead]) == (day.day == 1)


def test_unknown_days_are_left_out_of_the_average() -> None:
    values, first = windows()
    known = torch.ones_like(values, dtype=torch.bool)
    known[:, -7:] = False
    earlier = find_earlier_days(values, known, first, horizon=7)
    assert torch.equal(earlier.known[..., 0], torch.zeros(len(first), 7, dtype=torch.bool))
    logits = torch.zeros(len(first), 7, WEEKS + MONTHS)
    expected = (earlier.z * earlier.known).sum(-1) / earlier.known.sum(-1)
    torch.testing.assert_close(earlier.average(logits), expected)


def test_the_calendar_begins_again_after_400_years_and_before_1970() -> None:
    """Windows that end at the same date, 400 years apart: Python's calendar has them alike."""
    values = torch.arange(CONTEXT).float()[None] + 1
    known = torch.ones_like(values, dtype=torch.bool)
    for start in (-25_000, 0, 40_000):
        first = torch.tensor([start])
        earlier = find_earlier_days(values, known, first, horizon=HORIZON)
        later = find_earlier_days(values, known, first + DAYS_OF_400_YEARS, horizon=HORIZON)
        assert all(torch.equal(before, after) for before, after in zip(earlier, later, strict=True))
        days = [date.fromordinal(EPOCH.toordinal() + start + CONTEXT + ahead).day for ahead in range(HORIZON)]
        assert earlier.is_first[0].tolist() == [day == 1 for day in days]


def test_a_day_whose_month_before_is_ahead_too_repeats_the_one_before_that() -> None:
    """At the end of January, 1 March is 29 days ahead and 1 February one."""
    values = torch.ones(1, CONTEXT)
    first = torch.tensor([(date(2023, 1, 31) - EPOCH).days - CONTEXT + 1])
    earlier = find_earlier_days(values, torch.ones(1, CONTEXT, dtype=torch.bool), first, horizon=30)
    assert earlier.known[0, 28].tolist()[WEEKS:] == [False, True]
