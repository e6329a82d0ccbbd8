import numpy as np
import pytest
from jaxtyping import TypeCheckError

from forecasting.long_gaps import fill_spans


def test_shapes_are_checked() -> None:
    days = np.zeros(3, np.int64)
    with pytest.raises(TypeCheckError, match=r"forecasting\.long_gaps\.fill_spans"):
        fill_spans(days, days[:2], days, shape=(1, 5))
