"""What goes to TorchServe of a window."""

import datetime as dt
import json

import numpy as np
import pytest

from forecasting.domain import EPOCH, YEAR_OF_DAYS, Kind
from forecasting.predictor import Window
from forecasting.serving.torchserve.protocol import write_request


@pytest.mark.parametrize(("num_known", "num_sent"), [(YEAR_OF_DAYS, YEAR_OF_DAYS), (92, 92), (30, 56)])
def test_days_before_a_young_site_began_are_left_out(num_known: int, num_sent: int) -> None:
    history = np.arange(YEAR_OF_DAYS, dtype=np.float32)
    history[: YEAR_OF_DAYS - num_known] = np.nan
    window = Window(history, 19_000, Kind.count, np.ones(30, np.float32))
    instance = json.loads(write_request([window], 7))["instances"][0]
    expected = [None if np.isnan(value) else value for value in history[-num_sent:].tolist()]
    assert instance["history"] == expected
    assert instance["first_day"] == str(EPOCH + dt.timedelta(days=19_000 + YEAR_OF_DAYS - num_sent))
    assert len(instance["band_scale"]) == 7


@pytest.mark.parametrize(("num_known", "num_sent"), [(YEAR_OF_DAYS, YEAR_OF_DAYS), (30, 56)])
def test_effects_go_along_with_the_days_that_are_sent(num_known: int, num_sent: int) -> None:
    """Those of the history that is sent, and of as many days ahead as are asked for. Without any there is no key."""
    history = np.arange(YEAR_OF_DAYS, dtype=np.float32)
    history[: YEAR_OF_DAYS - num_known] = np.nan
    effects = np.arange(YEAR_OF_DAYS + 30, dtype=np.float32)
    known = Window(history, 19_000, Kind.count, np.ones(30, np.float32), effects=effects)
    unknown = Window(history, 19_000, Kind.count, np.ones(30, np.float32))
    first, second = json.loads(write_request([known, unknown], 9))["instances"]
    assert first["effects"] == list(range(YEAR_OF_DAYS - num_sent, YEAR_OF_DAYS + 9))
    assert len(first["history"]) + 9 == len(first["effects"])
    assert "effects" not in second
