"""Code of the user's own that settings name as module:name."""

import difflib
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from forecasting.errors import SettingError


def load_object(entry: str, setting: str) -> Any:  # Any: whatever the user wrote
    """What `module:name` means, the module being installed or in the working directory. `setting` names it in errors.

    Raises SettingError.
    """
    module_name, _, name = entry.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # last: nothing installed is replaced by a file that happens to lie there
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise SettingError(f"{setting}={entry} imports {error.name}, which is not installed.") from error
        raise SettingError(
            f"{setting} is {entry}, but there is no module {module_name}, installed or in {Path.cwd()}. "
            "Start where the file is, or install it."
        ) from error
    if not hasattr(module, name):
        near = difflib.get_close_matches(name, dir(module), n=1)
        hint = f"Did you mean {module_name}:{near[0]}?" if near else f"Write one that is in {module.__file__}."
        raise SettingError(f"{setting} is {entry}, but {module_name} has no {name!r}. {hint}")
    return getattr(module, name)
