"""Which cutoffs a backtest takes, and what each may see, on a panel of three series worked by hand."""

from dataclasses import replace

import numpy as np
import pytest

from forecasting.domain import Kind, Series, Verdict
from forecasting.errors import TooFewDays
from forecasting.evaluation.rolling_origins import Rolling, roll
from forecasting.panel import Panel
from forecasting.settings.schema import BacktestConfig


def make_panel(*lives: tuple[int, int], num_days: int = 100) -> Panel:
    """Series that live from one column up to before another; the value of column c in row r is 1000 r + c."""
    columns = np.arange(num_days)
    alive = np.array([(columns >= first) & (columns < end) for first, end in lives])
    values = np.where(alive, 1000 * np.arange(len(lives))[:, None] + columns, np.nan).astype(np.float32)
    verdicts = np.where(alive, Verdict.observed, Verdict.before).astype(np.uint8)
    return Panel(tuple(Series("blog", f"metric_{row}") for row in range(len(lives))), values, 19_000, verdicts)


def cutoffs_of(rolling: Rolling, row: int) -> list[int]:
    return rolling.cutoffs[rolling.rows == row].tolist()


def test_cutoffs_end_with_each_series_and_need_thirty_days() -> None:
    """Row 0 lives 0..99, row 1 ends on 79, row 2 begins on 62: 30 days of it end on 91 at the earliest."""
    rolling = roll(make_panel((0, 100), (0, 80), (62, 100)), BacktestConfig(origins=4, step=5, days_ahead=7))
    assert cutoffs_of(rolling, 0) == [77, 82, 87, 92]
    assert cutoffs_of(rolling, 1) == [57, 62, 67, 72]
    assert cutoffs_of(rolling, 2) == [92]
    assert rolling.left_out == 3
    assert rolling.days_ahead == 7


@pytest.mark.parametrize(("first", "enough"), [(63, True), (64, False)])
def test_thirty_days_up_to_the_cutoff_are_enough(first: int, enough: bool) -> None:
    """The cutoff is column 92; of one other series there are always enough."""
    rolling = roll(make_panel((0, 100), (first, 100)), BacktestConfig(origins=1, days_ahead=7))
    assert cutoffs_of(rolling, 1) == [92] * enough


@pytest.mark.parametrize(("num_known", "enough"), [(28, True), (27, False)])
def test_28_of_the_last_56_days_must_be_known(num_known: int, enough: bool) -> None:
    panel = make_panel((0, 100), (0, 100))
    panel.values[1, 92 - 55 : 92 - num_known + 1] = np.nan  # older days are known, and do not count
    rolling = roll(panel, BacktestConfig(origins=1, days_ahead=7))
    assert cutoffs_of(rolling, 1) == [92] * enough


def test_shorter_history_must_hold_the_known_days_itself() -> None:
    panel = make_panel((0, 100), (0, 100))
    panel.values[1, [70, 80, 90]] = np.nan
    assert cutoffs_of(roll(panel, BacktestConfig(origins=1, days_ahead=7, history="30")), 1) == []
    assert cutoffs_of(roll(panel, BacktestConfig(origins=1, days_ahead=7, history="31")), 1) == [92]


def test_no_long_enough_series_is_refused() -> None:
    with pytest.raises(TooFewDays, match="30 days before a cutoff and 30 after it are needed"):
        roll(make_panel((0, 59)), BacktestConfig(origins=1, days_ahead=30))
    assert len(roll(make_panel((0, 60)), BacktestConfig(origins=1, days_ahead=30)).rows) == 1


def rolling_of(panel: Panel, *, history_days: int | None) -> Rolling:
    return Rolling(panel, np.array([0, 1]), np.array([50, 60]), 3, history_days)


def test_visible_days_are_those_up_to_the_cutoff_from_the_first_known_one() -> None:
    panel = make_panel((0, 100), (20, 100))
    whole, recent = (rolling_of(panel, history_days=days) for days in (None, 35))
    assert whole.visible(0).tolist() == list(range(51))
    assert whole.visible(1).tolist() == [1000 + column for column in range(20, 61)]
    assert recent.visible(0).tolist() == list(range(16, 51))
    assert recent.visible(1).tolist() == [1000 + column for column in range(26, 61)]
    assert (
        rolling_of(panel, history_days=51).visible(0).size == rolling_of(panel, history_days=52).visible(0).size == 51
    )


def test_histories_are_the_last_days_and_nan_before_the_panel_or_the_history() -> None:
    panel = make_panel((0, 100), (20, 100))
    whole = rolling_of(panel, history_days=None).histories(slice(None), 56)
    assert np.isnan(whole[0, :5]).all()
    assert whole[0, 5:].tolist() == list(range(51))
    assert np.isnan(whole[1, :15]).all()
    assert whole[1, 15:].tolist() == [1000 + column for column in range(20, 61)]
    [recent] = rolling_of(panel, history_days=30).histories(slice(1, 2), 56)
    assert np.isnan(recent[:26]).all()
    assert recent[26:].tolist() == [1000 + column for column in range(31, 61)]


def test_actual_values_follow_the_cutoff_and_gaps_are_zero() -> None:
    panel = make_panel((0, 100), (20, 100))
    for column, verdict in ((51, Verdict.gap), (52, Verdict.unmeasured)):
        panel.values[0, column], panel.verdicts[0, column] = np.nan, verdict
    actual = rolling_of(panel, history_days=None).actual()
    np.testing.assert_array_equal(actual, [[0, np.nan, 53], [1061, 1062, 1063]])


def test_day_without_a_rate_is_not_measured_at_all() -> None:
    panel = make_panel((0, 100), (20, 100))
    panel = replace(panel, series=tuple(replace(row, kind=Kind.rate, additive=False) for row in panel.series))
    panel.values[0, 51], panel.verdicts[0, 51] = np.nan, Verdict.gap
    assert np.isnan(rolling_of(panel, history_days=None).actual()[0, 0])


def test_panel_known_at_a_cutoff_ends_there() -> None:
    panel = make_panel((0, 100), (20, 100))
    known = rolling_of(panel, history_days=None).known_until(60)
    assert (known.first_day, known.cutoff, known.values[0, -1]) == (19_000, 19_060, 60)
    recent = rolling_of(panel, history_days=10).known_until(60)
    assert (recent.first_day, recent.cutoff, recent.values[0, 0]) == (19_051, 19_060, 51)


def test_selected_origins_keep_everything_else() -> None:
    rolling = rolling_of(make_panel((0, 100), (20, 100)), history_days=35)
    second = rolling.select(np.array([False, True]))
    assert (second.rows.tolist(), second.cutoffs.tolist(), second.history_days) == ([1], [60], 35)
