-- The first and last day to judge after `incoming` was written, and its sites. A day's verdict depends on the days before
-- it, so those after `incoming` are judged again. So is the day before it if it was judged as the last one. Always one row.
-- $1 text     source
-- $2 integer  how many days a verdict looks back
select
    least(min(arrived.first_day), min(previous.day)) as first_day,
    greatest(max(arrived.last_day), max(following.day)) as last_day,
    coalesce(array_agg(distinct arrived.site), '{}') as sites
from (
    select sites.site, incoming.metric, min(incoming.day) as first_day, max(incoming.day) as last_day
    from incoming
    inner join forecasting.sites on sites.source = $1::text and sites.key = incoming.key
    group by sites.site, incoming.metric
) as arrived
left join lateral (
    select d.day, d.verdict
    from forecasting.daily as d
    where d.site = arrived.site and d.metric = arrived.metric and d.day < arrived.first_day
    order by d.day desc
    limit 1
) as previous on previous.verdict = 'partial'
cross join lateral (
    select max(d.day) as day
    from forecasting.daily as d
    where
        d.site = arrived.site
        and d.metric = arrived.metric
        and d.day > arrived.last_day
        and d.day <= arrived.last_day + $2::integer
) as following;
