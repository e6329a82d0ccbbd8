"""How a setting is declared: its default, its help, its flags and its bounds, in one place."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from forecasting.errors import SettingError


@dataclass(frozen=True)
class Bounds:
    """What a number may be; None is no bound. A float must also be finite."""

    least: int | float | None = None
    most: int | float | None = None
    above: int | float | None = None
    below: int | float | None = None

    def allow(self, value: int | float) -> bool:
        return (
            (isinstance(value, int) or math.isfinite(value))
            and (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        if self.least is not None and self.most is not None:
            return f"{self.least} to {self.most}"
        named = {"at least": self.least, "above": self.above, "below": self.below, "at most": self.most}
        return " and ".join(f"{name} {bound}" for name, bound in named.items() if bound is not None)


def setting(  # Any: the annotation beside it says which type it is
    default: Any,
    about: str,
    *,
    flags: Sequence[str] = (),
    placeholder: str = "",
    least: int | float | None = None,
    most: int | float | None = None,
    above: int | float | None = None,
    below: int | float | None = None,
) -> Any:
    """A dataclass field with its help and its flags, of which errors name the first. `placeholder` stands for its value
    in --help, if the type's own would mislead.
    """
    bounds = Bounds(least, most, above, below)
    metadata = {"help": about, "flags": tuple(flags), "bounds": bounds, "placeholder": placeholder}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def require(holds: bool, text: str) -> None:
    if not holds:
        raise SettingError(text)


def known_settings(section: type, values: Mapping[str, Any]) -> dict[str, Any]:  # Any: settings are of many types
    """Without what is not a setting any more: the card of an older version may carry more."""
    names = {declared.name for declared in fields(section)}
    return {name: value for name, value in values.items() if name in names}


class Section:
    """Settings that share the first part of their key. Construction checks the bounds of each."""

    section: ClassVar[str]

    def __post_init__(self) -> None:
        for declared in fields(self):  # type: ignore[arg-type]  # subclasses are dataclasses
            value, bounds = getattr(self, declared.name), declared.metadata.get("bounds", Bounds())
            if bounds != Bounds() and value is not None:
                require(
                    bounds.allow(value),
                    f"{self.name_setting(declared.name)} is {value}; it must be {bounds}.",
                )

    def name_setting(self, name: str) -> str:
        """For errors: its key, and its flag where it has one."""
        declared = next(declared for declared in fields(self) if declared.name == name)  # type: ignore[arg-type]
        flags = declared.metadata["flags"]
        return f"{self.section}.{name}" + (f" ({flags[0]})" if flags else "")
