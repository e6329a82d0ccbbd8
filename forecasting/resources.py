"""Files that come with the package: `configs/`, `handlers/` and the base weights in `model_store/base/`.

A wheel carries them in `forecasting/_bundled`. In a checkout they are the folders beside the package.
"""

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

PACKAGE = Path(str(files("forecasting")))
BUNDLED = PACKAGE / "_bundled"
IS_CHECKOUT = not (files("forecasting") / "_bundled").is_dir()


def find_resource(name: str) -> Path:
    """Where the file or folder is, such as `configs/default.yaml`."""
    return (PACKAGE.parent if IS_CHECKOUT else BUNDLED) / name


def open_resource(name: str) -> Traversable:
    """The same, to be read alone: also if Python imports the package from an archive, as on Spark's executors."""
    return PACKAGE.parent / name if IS_CHECKOUT else files("forecasting").joinpath("_bundled", *name.split("/"))
