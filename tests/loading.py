"""Python files outside the package, as modules."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


def load_file(file: Path, *, beside: Path | None = None) -> ModuleType:
    """The file as a module. It may import the modules in the folder `beside`, as if it stood among them."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as paths:
        if beside is not None:
            paths.syspath_prepend(str(beside))
        spec.loader.exec_module(module)
    return module
