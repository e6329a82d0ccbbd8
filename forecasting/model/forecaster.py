"""Forecaster: raw daily history in, quantiles of the next days out. One torch module does everything in between."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from forecasting.domain import YEAR_OF_DAYS, Scaling
from forecasting.model import earlier_days, features, last_year
from forecasting.model.features import num_features, step_features, window_features
from forecasting.model.network import LEVELS, MEDIAN, Network
from forecasting.model.scaling import SCALING_DAYS, MinMaxScaling, RobustScaling, Scaled, WindowScaling
from forecasting.settings.schema import ModelConfig

NUM_LAYERS = 2  # of the LSTM, as documented


class Inputs(NamedTuple):
    """What the network reads of each window. It does not depend on weights, so training computes many steps at once."""

    steps: Float[Tensor, "batch sequence features"]
    # The days that those ahead may repeat, else last values and four-week means; then what is known of last year.
    extra: Float[Tensor, "batch extra"]


class Forecaster(nn.Module):
    """Scaling, features and network in one module, so training and serving cannot differ.

    `settings` describe its shape, its state_dict holds what it learned. A subclass that `model.forecaster` names may
    change the features of a step (`num_features`, `read_steps`), the network (`make_network`) and the scaling
    (`make_scaling`).
    """

    calendar: Tensor

    def __init__(self, settings: ModelConfig, scaling: WindowScaling | None = None) -> None:
        super().__init__()
        self.settings = settings
        self.averages_earlier_days = settings.seasonal_skip and settings.learned_average
        horizon = settings.output_days
        self._num_average = earlier_days.num_inputs(horizon) if self.averages_earlier_days else 2 * 7
        self._num_last_year = last_year.num_inputs(horizon) if settings.last_year else 0
        recent_days = features.num_days(settings.sequence_length, settings.weekly_lags)
        self._recent_days = min(settings.context_length, max(recent_days, SCALING_DAYS, earlier_days.NUM_DAYS))
        if self.averages_earlier_days:
            self.register_buffer("calendar", earlier_days.make_calendar(), persistent=False)
        self.scaling = scaling or self.make_scaling()
        self.network = self.make_network(
            num_features=self.num_features(),
            num_extra=self._num_average + self._num_last_year,
            hidden_size=settings.hidden_size,
            num_layers=NUM_LAYERS,
            dropout=settings.dropout,
            horizon=settings.output_days,
            initial_logits=(
                *(earlier_days.INITIAL_LOGITS if self.averages_earlier_days else ()),
                *(last_year.INITIAL_LOGITS if settings.last_year else ()),
            ),
        )

    def make_scaling(self) -> WindowScaling:
        return RobustScaling() if self.settings.scaling is Scaling.robust else MinMaxScaling()

    def make_network(self, **shape: Any) -> Network:
        """`shape` is what Network takes."""
        return Network(**shape)

    def num_features(self) -> int:
        """Of each step."""
        return num_features(self.settings.weekly_lags)

    def read_steps(
        self,
        days: Float[Tensor, "batch 2 days"],
        next_day: Int[Tensor, " batch"],
        window: Float[Tensor, "batch window"],
    ) -> Float[Tensor, "batch sequence features"]:
        """Features of the last days, the arguments as `step_features` takes them."""
        return step_features(
            days,
            next_day,
            window,
            sequence_length=self.settings.sequence_length,
            weekly_lags=self.settings.weekly_lags,
            horizon=self.settings.output_days,
        )

    def forward(
        self,
        history: Float[Tensor, "batch context"],
        first_day: Int[Tensor, " batch"],
        kind: Int[Tensor, " batch"],
        band_scale: Float[Tensor, "batch horizon"],
    ) -> Float[Tensor, "batch horizon levels"]:
        """Quantiles at LEVELS of the days after the history, in the history's units. Quantiles never cross.

        history: oldest day first, the cutoff last, NaN where unknown. Forecasts need at least 28 known days.
        first_day: day of the first column, in days since 1970-01-01.
        kind: 0 count, 1 rate in 0..1, 2 other.
        band_scale: multiplies each quantile's distance from the median; 1 leaves bands as trained. It acts in the
            scaling's units, so the widened band of a count stays above 0.
        """
        z, scaled = self.scaled_quantiles(history, first_day, kind)
        median = z[..., MEDIAN : MEDIAN + 1]
        return self.scaling.unscale(median + band_scale[..., None] * (z - median), kind, scaled)

    def scaled_quantiles(
        self,
        history: Float[Tensor, "batch context"],
        first_day: Int[Tensor, " batch"],
        kind: Int[Tensor, " batch"],
    ) -> tuple[Float[Tensor, "batch horizon levels"], Scaled]:
        """Quantiles in the scaling's units, in which the training loss is computed, and the scaled window."""
        inputs, scaled = self.read_windows(history, first_day, kind)
        return self.quantiles(inputs), scaled

    def read_windows(
        self,
        history: Float[Tensor, "batch context"],
        first_day: Int[Tensor, " batch"],
        kind: Int[Tensor, " batch"],
    ) -> tuple[Inputs, Scaled]:
        """First half of a forecast: scaling and features, which have no weights."""
        horizon = self.settings.output_days
        scaled = self.scaling(self._select_days(history), kind)
        days, next_day = scaled.with_flags(), first_day + history.shape[1]
        recent = days[..., -self._recent_days :]
        steps = self.read_steps(recent, next_day, window_features(scaled, kind))
        extra = self._read_average(recent, next_day)
        if self.settings.last_year:
            year = last_year.find_last_year(days[..., : last_year.num_days(horizon)], horizon=horizon)
            extra = torch.cat([extra, year.as_inputs()], 1)
        return Inputs(steps, extra), scaled

    def _select_days(self, history: Float[Tensor, "batch context"]) -> Float[Tensor, "batch days"]:
        """Those of last year that are read, and the recent ones: a third of them all, which is a third of the time."""
        recent = history[:, -self._recent_days :]
        if not self.settings.last_year:
            return recent
        first = history.shape[1] - YEAR_OF_DAYS
        return torch.cat([history[:, first : first + last_year.num_days(self.settings.output_days)], recent], 1)

    def _read_average(
        self, days: Float[Tensor, "batch 2 days"], next_day: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch average"]:
        if not self.averages_earlier_days:
            return torch.cat(_weekdays(days), 1)
        return earlier_days.read_inputs(days, next_day, self.calendar, horizon=self.settings.output_days)

    def quantiles(self, inputs: Inputs) -> Float[Tensor, "batch horizon levels"]:
        """Second half of a forecast: the network. Quantiles are in the scaling's units."""
        correction: Tensor
        logits: Tensor
        correction, logits = self.network(inputs.steps, inputs.extra)
        average, year = torch.split(inputs.extra, [self._num_average, self._num_last_year], 1)
        if self.settings.last_year:
            correction = correction + last_year.LastYear.from_inputs(year).expect(logits[..., -2:])[..., None]
            logits = logits[..., :-2]
        if self.averages_earlier_days:
            earlier = earlier_days.EarlierDays.from_inputs(average, self.settings.output_days)
            return correction + earlier.average(logits)[..., None]
        if not self.settings.seasonal_skip:
            return correction
        last_week, four_week_mean = average[:, :7], average[:, 7:]
        horizon = torch.arange(self.settings.output_days, device=average.device) % 7
        return correction + (0.5 * last_week + 0.5 * four_week_mean)[:, horizon, None]

    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    def example_inputs(self, batch: int = 2) -> tuple[Any, ...]:  # Any: two tensor types, as forward takes them
        """Arguments of `forward` with valid shapes, for tracing."""
        history = torch.arange(batch * self.settings.context_length, dtype=torch.float32) % 13
        return (
            history.view(batch, -1),
            torch.zeros(batch, dtype=torch.int64),
            torch.zeros(batch, dtype=torch.int64),
            torch.ones(batch, self.settings.output_days),
        )


def _weekdays(days: Float[Tensor, "batch 2 days"]) -> tuple[Float[Tensor, "batch 7"], Float[Tensor, "batch 7"]]:
    """Last value and four-week mean of each of the next seven weekdays. An unknown last value becomes the mean."""
    z, known = days[..., -28:].view(-1, 2, 4, 7).unbind(1)
    mean = z.sum(1) / known.sum(1).clamp(min=1)  # z is 0 where unknown
    return torch.where(known[:, -1] > 0, z[:, -1], mean), mean


__all__ = ["LEVELS", "MEDIAN", "Forecaster"]
