"""Training speed of Keras, for bench_training.py. Its interpreter needs keras and tensorflow, and nothing of ours."""

import argparse
import json
import os
import tempfile
import time

BEGAN = time.perf_counter()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

IMPORTED = time.perf_counter()
SECONDS = 6.0
FEATURES = 8


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("series", "days", "batch-size", "hidden-size"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--job", action="store_true")
    arguments = parser.parse_args()
    if arguments.job:
        time_job()
        return
    inputs, targets = make_windows(arguments.series * (arguments.days - 6))
    model = make_model(arguments.hidden_size)
    model.fit(inputs, targets, epochs=1, batch_size=arguments.batch_size, verbose=0)
    once = fit_seconds(model, inputs, targets, epochs=1, batch_size=arguments.batch_size)
    epochs = max(1, round(SECONDS / once))
    seconds = fit_seconds(model, inputs, targets, epochs=epochs, batch_size=arguments.batch_size)
    print(json.dumps({"windows_a_second": epochs * len(inputs) / seconds}))


def time_job() -> None:
    """100 epochs on one series of 60 days in batches of 32, with a validation after each; then saving the model."""
    inputs, targets = make_windows(47)
    model = make_model(64)
    validation = (inputs[-9:], targets[-9:])
    model.fit(inputs[:-9], targets[:-9], epochs=100, batch_size=32, verbose=0, validation_data=validation)
    fitted = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/model.keras")
    parts = {"imports": IMPORTED - BEGAN, "fitting": fitted - IMPORTED, "saving": time.perf_counter() - fitted}
    print("parts: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in parts.items()))


def make_windows(number: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.normal(size=(number, 7, FEATURES)).astype("f4"), random.normal(size=(number, 7)).astype("f4")


def make_model(hidden_size: int) -> keras.Model:
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((7, FEATURES)),
            layers.LSTM(hidden_size, return_sequences=True),
            layers.Dropout(0.1),
            layers.LSTM(hidden_size),
            layers.Dense(7),
        ]
    )
    model.compile("adam", "mse")
    return model


def fit_seconds(model: keras.Model, inputs: np.ndarray, targets: np.ndarray, **settings: int) -> float:
    began = time.perf_counter()
    model.fit(inputs, targets, verbose=0, **settings)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
