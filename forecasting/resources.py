"""Files that come with the package: `configs/`, `handlers/` and the base weights in `model_store/base/`.

A wheel carries them in `forecasting/_bundled`. In a checkout they are the folders beside the package.
"""

from importlib.resources import files
from pathlib import Path

PACKAGE = Path(str(files("forecasting")))
BUNDLED = PACKAGE / "_bundled"
IS_CHECKOUT = not BUNDLED.is_dir()


def find_resource(name: str) -> Path:
    """Where the file or folder is, such as `configs/default.yaml`."""
    return (PACKAGE.parent if IS_CHECKOUT else BUNDLED) / name
