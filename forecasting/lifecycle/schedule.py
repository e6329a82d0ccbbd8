"""When the daily job is due: a time of day in a time zone, on days of 23 and 25 hours too. Pure."""

import datetime as dt
from zoneinfo import ZoneInfo


def find_last_due(at: dt.time, zone: ZoneInfo, now: dt.datetime) -> dt.datetime:
    """The latest due time up to `now`, in UTC."""
    today = now.astimezone(zone).date()
    days = (today + dt.timedelta(days=ahead) for ahead in (1, 0, -1, -2))
    return next(moment for moment in (_at_time(day, at, zone) for day in days) if moment <= now)


def find_next_due(at: dt.time, zone: ZoneInfo, now: dt.datetime) -> dt.datetime:
    """The first due time after `now`, in UTC."""
    today = now.astimezone(zone).date()
    days = (today + dt.timedelta(days=ahead) for ahead in (-1, 0, 1, 2))
    return next(moment for moment in (_at_time(day, at, zone) for day in days) if moment > now)


def _at_time(day: dt.date, at: dt.time, zone: ZoneInfo) -> dt.datetime:
    """Of a time that comes twice that day, the first. A time that is skipped is as late after midnight as it would have
    been: 02:30 becomes 03:30.
    """
    return dt.datetime.combine(day, at, tzinfo=zone).astimezone(dt.UTC)
