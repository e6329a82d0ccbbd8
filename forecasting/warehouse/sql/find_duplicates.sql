-- The first series that `incoming` has more than one row a day of: how many such days, and the first of them.
-- $1 text     source
select twice.site, twice.metric, count(*) as num_days, min(twice.day) as first_day
from (
    select sites.site, incoming.metric, incoming.day
    from incoming
    inner join forecasting.sites on sites.source = $1::text and sites.key = incoming.key
    group by sites.site, incoming.metric, incoming.day
    having count(*) > 1
) as twice
group by twice.site, twice.metric
order by twice.site, twice.metric
limit 1;
