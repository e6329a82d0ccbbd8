"""Which countries' holidays are known: those of the package `holidays`."""

import difflib

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
