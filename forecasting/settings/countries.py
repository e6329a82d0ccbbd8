"""Which countries' holidays are known: those of the package `holidays`."""

import difflib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from zoneinfo import TZPATH

from forecasting.errors import SettingError

OFF = "off"


def check_country(key: str, country: str) -> None:
    """Raises SettingError for a country or subdivision that the package does not have. `key` names the setting."""
    if country == OFF:
        return
    import holidays

    code, _, subdivision = country.partition("-")
    known = holidays.list_supported_countries()
    if code not in known:
        near = difflib.get_close_matches(code.upper(), known, n=1)
        hint = f"Did you mean {near[0]}?" if near else "Write an ISO code such as US or DE-BY, or off."
        raise SettingError(f"{key} is {country!r}, a country whose holidays are not known. {hint}")
    if subdivision and subdivision not in known[code]:
        some = ", ".join(sorted(known[code])[:8])
        hint = f"Its parts are {some} and others" if some else "No part of it has any"
        raise SettingError(
            f"{key} is {country!r}, but {code} has no part {subdivision!r} with holidays of its own. {hint}."
        )


def suggest_country(timezone: str) -> str | None:
    """The ISO code of the country that has this time zone, if there is one and its holidays are known.

    By zone.tab of the system's, or the package tzdata's, time zones. UTC, CET and the like belong to no country.
    """
    import holidays

    code = _read_countries().get(timezone)
    return code if code in holidays.list_supported_countries() else None


@cache
def _read_countries() -> Mapping[str, str]:
    """By time zone: of countries that keep the same time, each has a name for it of its own."""
    folders = [Path(folder) for folder in TZPATH]
    if find_spec("tzdata"):
        folders.append(Path(str(files("tzdata") / "zoneinfo")))
    file = next((folder / "zone.tab" for folder in folders if (folder / "zone.tab").is_file()), None)
    if file is None:
        return {}
    lines = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return {zone: country for country, _, zone, *_ in lines}
