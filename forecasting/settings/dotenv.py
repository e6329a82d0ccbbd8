"""The `.env` file, in python-dotenv's syntax, but nothing that it leaves out goes unnoticed."""

import codecs
import io
from collections.abc import Mapping
from pathlib import Path

from dotenv.parser import Binding, parse_stream
from dotenv.variables import Variable, parse_variables

from forecasting.errors import SettingError

UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # how PowerShell's > starts a file
SAVE = "Save the file as UTF-8."


def parse_dotenv(content: bytes, file: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Its variables. ${NAME} is the variable of that name, from `environ` or from above in the file, except within
    single quotes. Errors name the file, and never show a value, which may be a password.
    """
    variables: dict[str, str] = {}
    for binding in parse_stream(io.StringIO(_decode(content, file))):
        if binding.error:
            line = binding.original.line
            raise SettingError(f"{file}, line {line}, is not NAME=value. Write the value in quotes, on one line.")
        if binding.key is not None and binding.value is not None:
            variables[binding.key] = _expand(binding, {**variables, **environ}, file)
    return variables


def _decode(content: bytes, file: Path) -> str:
    encoding = "utf-16" if content.startswith(UTF_16) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise SettingError(f"{file}, line {line}, is not valid {encoding.upper()[:6].rstrip('-')}. {SAVE}") from None
    if "\0" in text:
        raise SettingError(f"{file} contains zero bytes, as UTF-16 does. {SAVE}")
    return text


def _expand(binding: Binding, known: Mapping[str, str], file: Path) -> str:
    value = binding.value or ""
    if binding.original.string.partition("=")[2].lstrip().startswith("'"):
        return value
    atoms = list(parse_variables(value))
    for atom in atoms:
        if isinstance(atom, Variable) and atom.default is None and atom.name not in known:
            raise SettingError(
                f"{file}, line {binding.original.line}: {binding.key} names the variable {atom.name}, which is not "
                "set. If the value is meant as it is, write it in single quotes."
            )
    return "".join(atom.resolve(known) for atom in atoms)
