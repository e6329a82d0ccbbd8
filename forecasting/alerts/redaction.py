"""Keeps secrets out of what is logged and listed: a URL's parts are replaced wherever they stand. Pure."""

import re
from urllib.parse import unquote

HIDDEN = "***"
SHORTEST = 3  # shorter parts, such as a port, are no secrets and would hide half of a sentence
MOST = 200  # characters of a foreign sentence


def redact(text: str, url: str) -> str:
    """Without any part of the URL but its scheme; a part is what stands between / : @ ? & = # and commas."""
    rest = url.partition("://")[2]
    parts = {part for part in re.split(r"[/:@?&=#,]", rest) if len(part) >= SHORTEST}
    parts |= {unquote(part) for part in parts}
    for part in sorted(parts, key=len, reverse=True):
        text = text.replace(part, HIDDEN)
    return text[:MOST]
