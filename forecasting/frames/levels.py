"""Any quantile from the few that a model gives. Pure numpy.

In the model's units (log(1 + y) of counts, asin(sqrt(y)) of rates) a quantile is a function of the standard normal
score of its level: between two of the model's levels it lies on the straight line between them, and beyond the
outermost one on the line from the median through it. So quantiles never cross.
"""

import re
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from jaxtyping import Float

from forecasting.domain import Kind
from forecasting.known_days.effects import to_even
from forecasting.settings.bounds import require

MEDIAN = 0.5
SCORE = NormalDist().inv_cdf


def check_levels(level: Any) -> list[float]:
    """Widths of bands in percent, in order, each once. Raises SettingError. Any: whatever a caller gives."""
    advice = "write widths of bands in percent, such as level=[80, 95]."
    require(np.ndim(level) == 1, f"level is {level!r}; {advice}")
    for width in level:
        require(_is_between(width, 100), f"level has {width!r}; {advice}")
    return sorted({float(width) for width in level})


def check_quantiles(quantiles: Any) -> list[float]:
    """Quantiles in order, each once. Raises SettingError."""
    advice = "each must lie between 0 and 1, such as quantiles=[0.1, 0.9]."
    require(np.ndim(quantiles) == 1, f"quantiles is {quantiles!r}; {advice}")
    for quantile in quantiles:
        require(_is_between(quantile, 1), f"quantiles has {quantile!r}; {advice}")
    return sorted({float(quantile) for quantile in quantiles})


def band_ends(width: float) -> tuple[float, float]:
    """The quantiles at both ends of a band of `width` percent."""
    return round((100 - width) / 200, 12), round((100 + width) / 200, 12)


def name_number(number: float) -> str:
    """As columns are named by it: 80, 99.5."""
    return re.sub(r"\.0$", "", repr(round(number, 10)))


def find_quantiles(
    known: Float[np.ndarray, "series days levels"],
    levels: Sequence[float],
    wanted: Sequence[float],
    kinds: Sequence[Kind],
    *,
    logarithmic: bool = True,
) -> Float[np.ndarray, "series days wanted"]:
    """`known` are quantiles at the model's `levels`. `kinds` are the series', `logarithmic` is the Predictor's."""
    result = np.empty((*known.shape[:2], len(wanted)))
    exact = {level: place for place, level in enumerate(levels)}
    others = [place for place, level in enumerate(wanted) if level not in exact]
    for place, level in enumerate(wanted):
        if level in exact:
            result[..., place] = known[..., exact[level]]
    for kind in set(kinds) if others else ():
        rows = np.array([each is kind for each in kinds], bool)
        units = kind if logarithmic else Kind.other
        found = _interpolate(known[rows].astype(np.float64), levels, [wanted[place] for place in others], units)
        for column, place in enumerate(others):
            result[rows, :, place] = _within_range(found[..., column], kind)
    return result


def _interpolate(
    known: Float[np.ndarray, "series days levels"], levels: Sequence[float], wanted: Sequence[float], units: Kind
) -> Float[np.ndarray, "series days wanted"]:
    even, scores = to_even(known, units), [SCORE(level) for level in levels]
    middle = levels.index(MEDIAN)
    found = []
    for level in wanted:
        above = int(np.searchsorted(levels, level))
        if 0 < above < len(levels):
            low, high, least, most = above - 1, above, known[..., above - 1], known[..., above]
        elif above == 0:
            low, high, least, most = 0, middle, np.array(-np.inf), known[..., 0]
        else:
            low, high, least, most = middle, len(levels) - 1, known[..., -1], np.array(np.inf)
        share = (SCORE(level) - scores[low]) / (scores[high] - scores[low])
        value = _from_even(even[..., low] + share * (even[..., high] - even[..., low]), units)
        found.append(np.clip(value, least, most))  # rounding must not make quantiles cross
    return np.stack(found, axis=-1)


def _from_even(x: Float[np.ndarray, "*days"], units: Kind) -> Float[np.ndarray, "*days"]:
    """The inverse of to_even."""
    if units is Kind.count:
        return np.asarray(np.expm1(np.minimum(x, 60.0)))
    return np.asarray(np.sin(np.clip(x, 0.0, np.pi / 2)) ** 2) if units is Kind.rate else x


def _within_range(x: Float[np.ndarray, "*days"], kind: Kind) -> Float[np.ndarray, "*days"]:
    if kind is Kind.other:
        return x
    return np.asarray(np.clip(x, 0.0, 1.0 if kind is Kind.rate else None))


def _is_between(number: Any, most: int) -> bool:
    is_number = isinstance(number, int | float | np.number) and not isinstance(number, bool)
    return is_number and bool(0 < number < most)
