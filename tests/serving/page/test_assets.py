"""The files of the page: small, whole, and without anything that the page's own policy forbids."""

import gzip
import re

from forecasting.serving.page.assets import INDEX, load_assets
from tests import PROJECT

FOLDER = PROJECT / "forecasting" / "serving" / "page" / "static"
MAX_BYTES = 25_000  # of the first view, packed


def test_the_first_view_is_small() -> None:
    assets = load_assets()
    sent = sum(len(asset.packed) for name, asset in assets.by_name.items() if name != INDEX)
    assert sent + len(assets.write_index("").packed) < MAX_BYTES


def test_files_are_sent_as_they_are_under_an_address_that_changes_with_them() -> None:
    assets = load_assets()
    for file in FOLDER.iterdir():
        asset = assets.by_name[file.name]
        assert gzip.decompress(asset.packed) == asset.plain == file.read_bytes()
    script = assets.find(assets.digest, "page.js")
    assert script is not None
    assert script.media_type == "text/javascript; charset=utf-8"
    assert assets.find("0" * 12, "page.js") is None
    assert assets.find(assets.digest, "../assets.py") is None
    assert assets.find(assets.digest, INDEX) is None


def test_the_page_names_its_files_below_the_root_path() -> None:
    assets = load_assets()
    page = assets.write_index("/forecast").plain.decode()
    base = f"/forecast/static/{assets.digest}"
    assert {f"{base}/page.js", f"{base}/page.css", f"{base}/icon.svg"} <= set(
        re.findall(r'(?:href|src)="([^"]+)"', page)
    )
    assert "{" not in page


def test_nothing_comes_from_elsewhere_and_nothing_is_inline() -> None:
    for file in FOLDER.iterdir():
        text = file.read_text()
        addresses = re.findall(r"https?://[^\s\"'<]+", text)
        assert set(addresses) <= {"http://www.w3.org/2000/svg"}, file.name
        assert not re.search(r"\sstyle=|\son[a-z]+=\"|<style|<script(?! type=\"module\" src=)", text), file.name
