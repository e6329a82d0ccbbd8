"""The files of the page, as they are sent: read once, packed once, under an address that changes with them."""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

INDEX = "index.html"
MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class Asset:
    plain: bytes
    packed: bytes  # by gzip
    media_type: str


@dataclass(frozen=True)
class Assets:
    digest: str  # of all files: a browser may keep them for ever
    by_name: Mapping[str, Asset]

    def find(self, digest: str, name: str) -> Asset | None:
        return self.by_name.get(name) if digest == self.digest and name != INDEX else None

    def write_index(self, root_path: str) -> Asset:
        """The page itself, with the addresses of its files."""
        base = f"{root_path}/static/{self.digest}".encode()
        return _pack(INDEX, self.by_name[INDEX].plain.replace(b"{static}", base).replace(b"{root}", root_path.encode()))


@cache
def load_assets() -> Assets:
    folder = files("forecasting.serving.page") / "static"
    content = {file.name: file.read_bytes() for file in sorted(folder.iterdir(), key=lambda file: file.name)}
    digest = hashlib.sha256(b"".join(content.values())).hexdigest()[:12]
    return Assets(digest, {name: _pack(name, data) for name, data in content.items()})


def _pack(name: str, content: bytes) -> Asset:
    media_type = next(kind for ending, kind in MEDIA_TYPES.items() if name.endswith(ending))
    return Asset(content, gzip.compress(content, mtime=0), f"{media_type}; charset=utf-8")
