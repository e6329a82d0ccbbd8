-- The unusual days of a week that were told, one for each site, day and side.
-- $1 date    first day of the week
-- $2 text[]  sites; empty: all
select distinct
    site,
    day,
    direction
from forecasting.anomalies
where
    day >= $1::date
    and day < $1::date + 7
    and told_at is not null
    and withdrawn_at is null
    and (cardinality($2::text[]) = 0 or site = any($2::text[]))
order by day, site, direction;
