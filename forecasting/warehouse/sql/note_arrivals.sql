-- Notes the newest complete day of sites, and how old the one before had become when it came.
-- $1 text     source
-- $2 text[]   keys
-- $3 date[]   the newest complete day of each
-- $4 date[]   today in the time zone of each
update forecasting.sites
set
    last_day = newest.day,
    arrivals = case
        when sites.last_day is null then '{}'
        else (array_prepend(newest.today - sites.last_day - 1, sites.arrivals))[:12]
    end
from unnest($2::text[], $3::date[], $4::date[]) as newest (key, day, today)
where
    sites.source = $1::text
    and sites.key = newest.key
    and (sites.last_day is null or sites.last_day < newest.day);
