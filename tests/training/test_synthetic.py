"""Synthetic traffic: what each part changes, and what no part may change."""

import pytest
import torch

from forecasting.model.rollout import COUNT, OTHER, RATE
from forecasting.training.synthetic import (
    DAY_PARTS,
    LEVEL_PARTS,
    PARTS,
    Sites,
    Traffic,
    autoregression,
    keep_last_days,
    sample_traffic,
    sharpen_weeks,
)

DAYS = 140


def sample(num_sites: int = 2000, *, only: str | None = None, seed: int = 0) -> torch.Tensor:
    """Counts with all parts, or with one alone."""
    torch.manual_seed(seed)
    without = ("rates", "others") if only is None else tuple(name for name in PARTS if name != only)
    return sample_traffic(num_sites, DAYS, without=without).values


def test_values_are_in_the_range_of_their_kind() -> None:
    torch.manual_seed(0)
    traffic = sample_traffic(4000, DAYS)
    shares = torch.bincount(traffic.kind, minlength=3) / 4000
    torch.testing.assert_close(shares, torch.tensor([0.93, 0.05, 0.02]), atol=0.01, rtol=0)
    known = [values[values.isfinite()] for values in (traffic.values[traffic.kind == kind] for kind in range(3))]
    assert (known[COUNT] >= 0).all()
    assert (known[COUNT] == known[COUNT].round()).all()
    assert ((known[RATE] >= 0) & (known[RATE] <= 1)).all()
    assert (known[OTHER] < 0).any()
    assert not traffic.values.isinf().any()


def test_same_seed_same_sites() -> None:
    torch.testing.assert_close(sample(seed=3), sample(seed=3), equal_nan=True)
    assert not torch.allclose(sample(seed=3), sample(seed=4), equal_nan=True)


def test_levels_range_from_a_few_to_tens_of_thousands_a_day() -> None:
    medians = sample().nanmedian(1).values
    assert (medians < 5).float().mean() > 0.05
    assert (medians > 50_000).float().mean() > 0.05


def test_without_parts_days_differ_by_noise_alone() -> None:
    torch.manual_seed(0)
    values = sample_traffic(2000, DAYS, without=PARTS).values
    large = values[values.mean(1) > 1000]
    assert (large.std(1) / large.mean(1)).max() < 0.4
    halves = large[:, : DAYS // 2].mean(1) / large[:, DAYS // 2 :].mean(1)
    torch.testing.assert_close(halves, torch.ones_like(halves), atol=0.2, rtol=0)


def weekly_share(values: torch.Tensor) -> torch.Tensor:
    """Share of a site's variance that its weekday means explain; near 0 without a weekly pattern."""
    weeks = values[values.isfinite().all(1) & (values.mean(1) > 100)].log1p().unflatten(1, (-1, 7))
    return weeks.mean(1).var(1) / weeks.flatten(1).var(1)


def test_weekday_makes_a_weekly_pattern() -> None:
    assert weekly_share(sample(only="weekday")).median() > 0.5
    assert weekly_share(sample(only="moods")).median() < 0.1


@pytest.mark.parametrize("name", LEVEL_PARTS)
def test_each_part_changes_the_level_of_some_sites(name: str) -> None:
    torch.manual_seed(1)
    change = LEVEL_PARTS[name](Sites(500, DAYS, "cpu"))
    assert change.shape == (500, DAYS)
    assert torch.isfinite(change).all()
    assert (change.std(1) > 1e-4).any()


@pytest.mark.parametrize("name", DAY_PARTS)
def test_each_part_changes_the_days_of_a_few_sites(name: str) -> None:
    torch.manual_seed(1)
    before = torch.full((2000, DAYS), 100.0)
    changed = (DAY_PARTS[name](Sites(2000, DAYS, "cpu"), before) != before).any(1).float().mean()
    assert 0 < changed < 0.3


def test_peaks_return_on_their_weekday_or_date() -> None:
    """Days far above the median of their site: most come back after one week, two weeks or a month."""
    values = sample(4000, only="peaks")
    busy = values[values.median(1).values > 100]
    high = busy > 3 * busy.median(1, keepdim=True).values
    peaked = high[high.sum(1) >= 3]
    assert 0.08 < len(peaked) / len(busy) < 0.16
    gaps = [tuple(site.nonzero()[:, 0].diff().tolist()) for site in peaked]
    for period in ({7}, {14}, {28, 29, 30, 31}):
        assert sum(set(gap) <= period for gap in gaps) >= 5, period


def test_closed_sites_have_next_to_no_traffic_on_their_days() -> None:
    torch.manual_seed(0)
    traffic = sample_traffic(4000, DAYS, without=tuple(name for name in PARTS if name != "closed"))
    weekday = (traffic.first_day[:, None] + torch.arange(DAYS) + 3) % 7
    weekend, rest = (torch.where(days, traffic.values, torch.nan).nanmean(1) for days in (weekday >= 5, weekday < 5))
    closed = (weekend < 0.05 * rest) & (rest > 100)
    assert 0.01 < closed.float().mean() < 0.05


def test_bursts_make_days_of_many_times_the_median() -> None:
    values = sample(4000, only="bursts")
    busy = values[values.mean(1) > 100]
    is_bursty = (busy.std(1) / busy.mean(1)) > 0.8  # 0.2 at most without
    assert 0.04 < is_bursty.float().mean() < 0.12


def test_steady_sites_stay_at_their_level_and_others_do_not() -> None:
    """The same seed draws the same sites first, so these show which are steady."""
    torch.manual_seed(0)
    steady = Sites(4000, DAYS, "cpu").steady[:, 0] > 0
    values = sample(4000, only="drift")
    ratio = values[:, : DAYS // 2].mean(1) / values[:, DAYS // 2 :].mean(1)
    busy = values.mean(1) > 100
    assert steady.float().mean().item() == pytest.approx(0.08, abs=0.015)
    assert (ratio[busy & steady].log().abs() < 0.2).all()
    assert (ratio[busy & ~steady].log().abs() > 0.2).float().mean() > 0.1


def test_real_counts_get_the_peaks_and_closed_days_of_some_sites_and_rates_do_not() -> None:
    torch.manual_seed(0)
    values = torch.full((4000, DAYS), 1000.0)
    values[:, 5] = torch.nan
    kind = (torch.arange(4000) % 2) * RATE
    sharp = sharpen_weeks(Traffic(values, torch.full((4000,), 19_000), kind)).values
    assert torch.equal(sharp.isnan(), values.isnan())
    factor = sharp.nan_to_num(1000.0) / 1000
    assert (factor[kind == RATE] == 1).all()
    counts = factor[kind == COUNT]
    assert 0.12 < (counts.max(1).values > 1.3).float().mean() < 0.18
    assert 0.03 < (counts.min(1).values < 0.4).float().mean() < 0.08
    assert 0.7 < (counts == 1).all(1).float().mean() < 0.85
    assert (counts == counts.mul(1000).round().div(1000)).all()


def test_only_gaps_and_births_make_unknown_days() -> None:
    torch.manual_seed(0)
    without = ("gaps", "births")
    assert sample_traffic(2000, DAYS, without=without).values.isfinite().all()
    assert sample(only="gaps").isnan().any()
    births = sample(only="births")
    born = births[births.isnan().any(1)]
    first = born.isfinite().float().argmax(1)
    assert all(born[row, : int(day)].isnan().all() for row, day in enumerate(first))
    assert all(born[row, int(day) :].isfinite().all() for row, day in enumerate(first) if born[row].isfinite().any())


def test_autoregression_starts_in_its_stationary_distribution() -> None:
    torch.manual_seed(0)
    noise, memory = torch.randn(50_000, 10), torch.full((50_000, 1), 0.8)
    states = autoregression(noise, memory)
    torch.testing.assert_close(states[:, 1:], 0.8 * states[:, :-1] + noise[:, 1:])
    expected = torch.full((10,), 1 / (1 - 0.8**2) ** 0.5)
    torch.testing.assert_close(states.std(0), expected, rtol=0.02, atol=0)


def test_keep_last_days_hides_older_days() -> None:
    cut = keep_last_days(torch.arange(12.0).view(2, 6), torch.tensor([2, 6]))
    assert cut[0].isnan().tolist() == [True] * 4 + [False] * 2
    assert cut[1].isfinite().all()
