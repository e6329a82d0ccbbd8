"""TrafficForecaster: forecasts of data frames, in this process."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from forecasting.card import SeriesCard
from forecasting.errors import SettingError
from forecasting.frames.anomalies import find_anomalies
from forecasting.frames.cross_validation import check_windows, keep_first_window, validate
from forecasting.frames.engines.dispatch import refuse_engines, spread_over_engines
from forecasting.frames.events import own_events, read_events
from forecasting.frames.forecasts import check_horizon, find_cards, find_columns, name_columns, report_short
from forecasting.frames.known_days import find_countries, learn_known
from forecasting.frames.levels import check_levels
from forecasting.frames.loaded_model import DEFAULT_METRIC, DEFAULT_TARGET, LoadedModel, load_model
from forecasting.frames.plot import draw
from forecasting.frames.reading import DEFAULT_ID, Columns, FrameSeries, read_frame
from forecasting.frames.regressors import check_days_ahead, read_regressors, use_regressors
from forecasting.frames.series_rows import SeriesRows
from forecasting.frames.writing import write_frame
from forecasting.known_days.events import NO_EVENTS, Events
from forecasting.settings.loading import load_config
from forecasting.settings.schema import BASE_VERSION

Country = str | Mapping[Any, str] | None  # Any: ids of any type
Numbers = Sequence[int | float]


class TrafficForecaster:
    """Forecasts the next days of each series of a data frame: pandas, Polars or Arrow, and the same kind out; also
    frames of Spark, Dask and Ray, lazily.

    A version knows its sites by the ids and its metrics by the name of the target column; `y` is a site's only metric,
    else page_visits. Needs no server. Thread-safe; may be sent to another process.

    All methods take `id_col`, `time_col` and `target_col`, the names of the columns; without a column of ids the frame
    is one series. `kind` is count (the default), rate (0..1) or other, or a column that has these words. `country` is
    that of all series, such as US or DE-BY, or of single ones by id: forecasts expect its holidays, as the series' own
    past shows them. Frames of engines are shuffled by id into
    `num_partitions`, unless `assume_whole_series` says that no series is in two partitions, which is checked. Series of
    too few days are refused, or with `drop_short` left out with a warning. Methods raise
    DataError (TooFewDays, DuplicateDays, AmbiguousUnit) for the frame and SettingError for other arguments.
    """

    def __init__(self, version: str | Path = BASE_VERSION) -> None:
        """The base model; or a version's name in MODEL_DIR, or its folder. Raises UnknownVersion, BrokenArtifact."""
        self._version = version
        self._model = load_model(version)
        self._tuned: Any = None  # Any: a Tuned, whose module imports Lightning

    @classmethod
    def of_model(cls, model: LoadedModel) -> "TrafficForecaster":
        """For processes that have been sent one."""
        forecaster = cls.__new__(cls)
        forecaster._version, forecaster._model, forecaster._tuned = model.predictor.name, model, None
        return forecaster

    def send(self) -> Any:  # Any: a SentModel, for the processes of an engine
        from forecasting.frames.engines.sent_model import send_model

        return send_model(self._version, None if self._tuned is None else self._model)

    def __getstate__(self) -> dict[str, Any]:
        """An exported program cannot be pickled, but loaded again; what was fitted is sent whole."""
        return self.__dict__ if self._tuned is not None else {"_version": self._version, "_tuned": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._tuned is None:
            self._model = load_model(self._version)

    @spread_over_engines
    def forecast(
        self,
        df: Any,  # Any: the user's own kind of frame, here and below
        h: int = 7,
        *,
        level: Numbers | None = None,
        quantiles: Numbers | None = None,
        id_col: str = DEFAULT_ID,
        time_col: str = "ds",
        target_col: str = DEFAULT_TARGET,
        kind: str | None = None,
        country: Country = None,
        events: Any = None,
        X_df: Any = None,  # noqa: N803 - as Nixtla's libraries call it
        drop_short: bool = False,
        num_partitions: int | None = None,
        assume_whole_series: bool = False,
    ) -> Any:
        """The next `h` days (1 to 30) of each series, after its own last day with a value.

        `forecast` is the median; a band of `level` percent ends at `forecast-lo-80` and `forecast-hi-80`; `quantiles`
        are `forecast-q-10`. `events` is a frame of days known beforehand, past and future: a first day (`ds`), a name
        (`event`, or Prophet's `holiday`), and where there is more to say the series' id, the last day (`until`) and how
        many times the usual count is expected (`size`). Past events of the same name say what the next one does.

        `X_df` has numbers that are known ahead, such as weather or prices: ids, days, and columns that `df` has too,
        with their values on each of the days ahead. A version uses those that it was trained with; of series that it
        does not know, each uses those that forecasts of its past weeks gain from.
        """
        wanted = name_columns(level, quantiles)
        check_horizon(h)
        frame = read_frame(df, Columns(id_col, time_col, target_col), kind=kind)
        known = read_events(events, frame)
        cards = self._find_cards(frame, country, known)
        regressors = read_regressors(df, frame, x_df=X_df)
        check_days_ahead(frame, regressors, h=h)
        cards = use_regressors(self._model, frame, cards, regressors, known)
        forecasts = self._model.forecast(
            frame.rows, cards, h, events=own_events(frame, known), regressors=regressors.values
        )
        if len(forecasts.rows) < len(cards):
            report_short(frame, forecasts, drop=drop_short)
        days = forecasts.cutoffs[:, None] + np.arange(1, h + 1)
        return write_frame(
            frame,
            series=np.repeat(forecasts.rows, h),
            days={time_col: days.ravel()},
            values=find_columns(self._model, cards, forecasts, wanted),
        )

    @spread_over_engines
    def cross_validation(
        self,
        df: Any,
        h: int = 7,
        *,
        n_windows: int = 8,
        step_size: int = 7,
        level: Numbers | None = None,
        quantiles: Numbers | None = None,
        id_col: str = DEFAULT_ID,
        time_col: str = "ds",
        target_col: str = DEFAULT_TARGET,
        kind: str | None = None,
        country: Country = None,
        events: Any = None,
        regressors: Sequence[str] = (),
        drop_short: bool = False,
        num_partitions: int | None = None,
        assume_whole_series: bool = False,
    ) -> Any:
        """Forecasts of past days, each from the days up to its `cutoff` alone, beside what came (the target column).

        The last of `n_windows` ends with a series' last day; each begins `step_size` days after the one before.
        `country` and `events` are learned from the days up to each cutoff. `regressors` are columns of `df` that were
        known ahead; which of them a series uses, and what they do, is learned from the days before the first window.
        """
        wanted = name_columns(level, quantiles)
        check_horizon(h)
        check_windows(n_windows, step_size)
        frame = read_frame(df, Columns(id_col, time_col, target_col), kind=kind)
        known, values = read_events(events, frame), read_regressors(df, frame, regressors)
        cards, countries = find_cards(self._model, frame), find_countries(frame, country)

        def learn(rows: SeriesRows, cards: Sequence[SeriesCard]) -> list[SeriesCard]:
            return learn_known(rows, cards, countries, self._model.config, names=frame.names, events=known)

        first = keep_first_window(frame.rows, h=h, n_windows=n_windows, step_size=step_size)
        cards = use_regressors(self._model, replace(frame, rows=first), learn(first, cards), values, known)
        past = validate(
            self._model, frame, partial(learn, cards=cards), wanted,
            events=own_events(frame, known), regressors=values.values,
            h=h, n_windows=n_windows, step_size=step_size, drop_short=drop_short,
        )  # fmt: skip
        return write_frame(
            frame,
            series=past.series,
            days={time_col: past.days, "cutoff": past.cutoffs},
            values={target_col: past.actual, **past.columns},
        )

    @spread_over_engines
    def detect_anomalies(
        self,
        df: Any,
        *,
        level: int | float = 99,
        id_col: str = DEFAULT_ID,
        time_col: str = "ds",
        target_col: str = DEFAULT_TARGET,
        kind: str | None = None,
        country: Country = None,
        events: Any = None,
        num_partitions: int | None = None,
        assume_whole_series: bool = False,
    ) -> Any:
        """Every day that can be judged, beside the forecasts made in the week before it: `forecast`, the ends of the
        band of `level` percent in `lo` and `hi`, a signed `score` (1.645 is the end of a 90% band) and `anomaly`.

        A score also tells of two days in a row, and of a week, whose means `forecast`, `lo` and `hi` then are.
        Differences too small to matter have the score 0. The effects of holidays and events are learned from all days.
        """
        [width] = check_levels([level])
        frame = read_frame(df, Columns(id_col, time_col, target_col), kind=kind)
        known = read_events(events, frame)
        cards = self._find_cards(frame, country, known)
        judged = find_anomalies(
            self._model, frame, cards, target=target_col, width=width, events=own_events(frame, known)
        )
        return write_frame(
            frame,
            series=judged.series,
            days={time_col: judged.days},
            values=judged.columns,
            flags={"anomaly": judged.is_unusual},
        )

    def fit(
        self,
        df: Any,
        *,
        metric: str | None = None,
        epochs: int = 100,
        id_col: str = DEFAULT_ID,
        time_col: str = "ds",
        target_col: str = DEFAULT_TARGET,
        kind: str | None = None,
        country: Country = None,
        events: Any = None,
        regressors: Sequence[str] = (),
        drop_short: bool = False,
    ) -> "TrafficForecaster":
        """Another forecaster: the base, fine-tuned on all series, with bands calibrated on each one's own past.

        `metric` is what the target is called, in a saved version too: by default the column's name, or page_visits if
        that is `y`. `regressors` are columns that are known ahead: each series uses those that its forecasts gain from,
        and forecasts need them in X_df then.
        """
        from forecasting.frames.fine_tuning import fine_tune

        refuse_engines(df, method="fit")
        frame = read_frame(df, Columns(id_col, time_col, target_col), kind=kind)
        metric = metric or (DEFAULT_METRIC if target_col == DEFAULT_TARGET else target_col)
        tuned = TrafficForecaster.__new__(TrafficForecaster)
        tuned._version = self._version
        known = read_events(events, frame)
        cards = self._find_cards(frame, country, known)
        tuned._model, tuned._tuned = fine_tune(
            frame, cards, metric, epochs=epochs, drop_short=drop_short, events=known,
            regressors=read_regressors(df, frame, regressors).values,
        )  # fmt: skip
        return tuned

    def save(self, version: str, *, folder: str | Path | None = None) -> Path:
        """Writes what `fit` returned as a version, which serve.py serves, into MODEL_DIR or another folder of versions.

        Returns the version's own folder. Raises SettingError, StoreNotWritable.
        """
        if self._tuned is None:
            raise SettingError("There is nothing to save: only what fit() returns is new. tuned = model.fit(df).")
        store = load_config().model_dir if folder is None else Path(folder)
        return Path(self._tuned.write(version, store))

    def plot(
        self,
        df: Any,
        forecasts: Any,
        *,
        engine: str = "matplotlib",
        ids: Sequence[Any] | None = None,
        id_col: str = DEFAULT_ID,
        time_col: str = "ds",
        target_col: str = DEFAULT_TARGET,
    ) -> Any:
        """A figure of matplotlib, or an interactive one of plotly: the last days of the first series, or of `ids`, and
        what `forecast` returned.
        """
        refuse_engines(df, method="plot")
        return draw(
            read_frame(df, Columns(id_col, time_col, target_col), kind="other"), forecasts, engine=engine, ids=ids
        )

    def _find_cards(self, frame: FrameSeries, country: Country, events: Events = NO_EVENTS) -> list[SeriesCard]:
        cards, countries = find_cards(self._model, frame), find_countries(frame, country)
        return learn_known(frame.rows, cards, countries, self._model.config, names=frame.names, events=events)
