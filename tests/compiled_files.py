"""jaxtyping's import hook, without what it costs every import below ours.

While it imports a module of ours, Python looks for compiled files under a name of jaxtyping's own, also those of torch,
Lightning, and whatever else that module imports first: it compiles some 2,500 files again in each process. Here only
the files of our modules have that name.
"""

from functools import partial
from importlib.machinery import SourceFileLoader
from types import CodeType
from unittest.mock import patch

from jaxtyping import _import_hook


def keep_compiled_files() -> None:
    """Before a module of ours is imported."""

    def get_code(loader: _import_hook._JaxtypingLoader, name: str) -> CodeType | None:
        named = partial(_import_hook._optimized_cache_from_source, loader._typechecker.get_hash())
        with patch("importlib._bootstrap_external.cache_from_source", named):
            return SourceFileLoader.get_code(loader, name)

    _import_hook._JaxtypingLoader.get_code = get_code
    _import_hook._JaxtypingLoader.exec_module = SourceFileLoader.exec_module
