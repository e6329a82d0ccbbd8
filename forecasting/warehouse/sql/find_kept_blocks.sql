-- Fills `kept_blocks` with the stored days that have a value, and that `incoming` does not have, before it is written.
-- $1 text     source
-- $2 text[]   keys of the sites that were read
-- $3 date     first day
-- $4 date     the day after the last day
insert into kept_blocks (key, block, num_days, first_day, last_day)
select
    sites.key,
    (d.day - date '1970-01-01') / 28 as block,
    count(distinct d.day) as num_days,
    min(d.day) as first_day,
    max(d.day) as last_day
from forecasting.sites
inner join forecasting.daily as d on d.site = sites.site
inner join forecasting.metrics on metrics.source = $1::text and metrics.metric = d.metric and metrics.gone_at is null
left join incoming on incoming.key = sites.key and incoming.metric = d.metric and incoming.day = d.day
where
    sites.source = $1::text
    and sites.key = any($2::text[])
    and d.day >= $3::date
    and d.day < $4::date
    and d.value <> 'NaN'
    and incoming.key is null
group by sites.key, (d.day - date '1970-01-01') / 28;
