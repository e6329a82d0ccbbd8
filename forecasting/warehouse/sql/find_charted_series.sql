-- The series that is furthest off on a day, of those that a message tells of.
-- $1 text[]  sites
-- $2 date    day
-- $3 text    direction
select
    site,
    metric
from forecasting.anomalies
where site = any($1::text[]) and day = $2::date and direction = $3::text
order by abs(score) desc, site, metric
limit 1;
