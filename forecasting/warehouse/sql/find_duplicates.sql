-- The first series that `incoming` has more than one row a day of: how many such days, and the first of them.
select twice.site, twice.metric, count(*) as num_days, min(twice.day) as first_day
from (
    select incoming.site, incoming.metric, incoming.day
    from incoming
    group by incoming.site, incoming.metric, incoming.day
    having count(*) > 1
) as twice
group by twice.site, twice.metric
order by twice.site, twice.metric
limit 1;
