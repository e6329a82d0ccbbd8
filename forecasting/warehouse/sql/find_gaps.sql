-- The first day that is not stored of sites that go on in `incoming` later than after their last stored day: rows without
-- a value in between may have been left out when they were the last ones.
-- $1 text     source
-- $2 date     first day of incoming
select arrived.key, min(last.day) + 1 as first_day
from (
    select incoming.key, incoming.metric
    from incoming
    where incoming.value <> 'NaN'
    group by incoming.key, incoming.metric
) as arrived
inner join forecasting.sites on sites.source = $1::text and sites.key = arrived.key
cross join lateral (
    select max(d.day) as day
    from forecasting.daily as d
    where d.site = sites.site and d.metric = arrived.metric and d.day < $2::date
) as last
where last.day < $2::date - 1
group by arrived.key;
