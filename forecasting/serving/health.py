"""What is wrong with the parts behind the routes, and how old the data are: for GET /health and its like. Pure."""

import datetime as dt
from collections.abc import Mapping
from typing import NamedTuple

MAX_NOTES = 20  # about the source, in GET /health


class Problems(NamedTuple):
    """A sentence for each part that was down at the last check."""

    model: str | None = None
    days: str | None = None  # that forecasts are made from
    source: str | None = None  # of new days; forecasts are made from those already read
    sites: str | None = None  # all of the version's sites are gone from the source
    age: str | None = None  # new days are late, or there is none at all
    no_day_ahead: bool = False  # so late that no forecast would reach today
    disk: str | None = None  # is full, or nearly; serving goes on as long as it can
    memory: str | None = None  # ran out some minutes ago, and the kernel ended a process
    promotion: str | None = None  # the last one failed, and the version before it is served on
    daily_job: str | None = None  # its last run failed

    def describe(self, *, in_full: bool = True) -> list[str]:
        """In full they name hosts, users and error messages, which are not for everybody."""
        if not in_full:
            names = {"TorchServe": self.model, "PostgreSQL": self.days, "The source of new days": self.source}
            sentences = [f"{name} does not answer." for name, problem in names.items() if problem]
            others = {
                "The source has no site that can be forecast.": self.sites,
                "New days are late.": self.age,
                "The last promotion of a version failed.": self.promotion,
                "The daily job failed.": self.daily_job,
                "A disk is full.": self.disk,
                "Memory ran out.": self.memory,
            }
            return sentences + [sentence for sentence, problem in others.items() if problem]
        return list(dict.fromkeys(problem for problem in self if isinstance(problem, str)))

    @property
    def is_ready(self) -> bool:
        """Whether forecasts can be computed, and reach today."""
        return self.model is None and self.days is None and not self.no_day_ahead


class JobState(NamedTuple):
    """The daily job, at the last look; None: never, or not known yet."""

    succeeded_at: dt.datetime | None = None  # when the last run that succeeded began
    outcome: str | None = None  # of the last run
    next_at: dt.datetime | None = None  # None: the server does not run it
    seconds: Mapping[str, float] = {}  # of the steps of the last run

    @property
    def age_hours(self) -> float | None:
        """Since the last run that succeeded."""
        if self.succeeded_at is None:
            return None
        return round((dt.datetime.now(dt.UTC) - self.succeeded_at).total_seconds() / 3600, 1)

    def describe(self) -> dict[str, str | float | None]:
        return {
            "succeeded_at": self.succeeded_at.isoformat(timespec="seconds") if self.succeeded_at else None,
            "age_hours": self.age_hours,
            "outcome": self.outcome,
            "next_at": self.next_at.isoformat(timespec="seconds") if self.next_at else None,
        }


class DataState(NamedTuple):
    """The data that forecasts are made from, at the last check; None: not known yet."""

    source: str = ""
    data_until: dt.date | None = None  # the newest day of any series
    data_age_days: int | None = None  # from then until today
    oldest_age_days: int | None = None  # of the series whose days end first
    num_late: int = 0  # series
    source_read_at: dt.datetime | None = None  # when new days were last looked for, and could be read
    notes: tuple[str, ...] = ()  # about the source, as it was then

    def describe(self, *, in_full: bool) -> dict[str, str | int | list[str] | None]:
        notes = [*self.notes[:MAX_NOTES]] if in_full else []
        if in_full and len(self.notes) > MAX_NOTES:
            notes.append(f"{len(self.notes) - MAX_NOTES:,} more notes are in the log.")
        return {
            "data_until": self.data_until.isoformat() if self.data_until else None,
            "data_age_days": self.data_age_days,
            "source_read_at": self.source_read_at.isoformat(timespec="seconds") if self.source_read_at else None,
            "notes": notes,
        }
