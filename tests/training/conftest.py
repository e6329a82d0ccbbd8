"""A panel with a known truth, and settings that train in a second."""

import pytest

from forecasting.panel import Panel
from forecasting.settings.loading import load_config
from forecasting.settings.schema import Config
from tests.panels import make_panel


@pytest.fixture
def panel() -> Panel:
    return make_panel(116)


@pytest.fixture
def quick() -> Config:
    return load_config(["training.epochs=3", "model.hidden_size=8", "training.accelerator=cpu"], environ={})
