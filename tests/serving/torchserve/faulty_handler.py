"""Archives whose handler fails on purpose."""

import zipfile
from pathlib import Path

from forecasting.serving.torchserve.archive import HANDLER

ONCE = """
def once(name):
    path = Path(os.environ["TMPDIR"]) / name
    return path.exists() or path.touch()
"""


def spoil_handler(archive: Path, target: Path, *, handle: str) -> Path:
    """A .mar like `archive` whose handler does something else first in `handle`."""
    line = "        requests = [self._read_or_refuse(row) for row in data]\n"
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(target, "w") as copy:
        for name in source.namelist():
            content = source.read(name)
            if name == HANDLER.name:
                text = content.decode()
                assert line in text
                content = text.replace(line, f"{handle}{line}").replace("import array\n", "import array\nimport os\n")
                content = content.replace("\nKINDS =", f"{ONCE}\nKINDS =", 1).encode()
            copy.writestr(name, content)
    return target
