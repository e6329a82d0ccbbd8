-- The first series with more than one row for a day in `incoming`: the number of such days, and the first of them.
-- $1 text     source
select duplicate.site, duplicate.metric, count(*) as num_days, min(duplicate.day) as first_day
from (
    select sites.site, incoming.metric, incoming.day
    from incoming
    inner join forecasting.sites on sites.source = $1::text and sites.key = incoming.key
    group by sites.site, incoming.metric, incoming.day
    having count(*) > 1
) as duplicate
group by duplicate.site, duplicate.metric
order by duplicate.site, duplicate.metric
limit 1;
