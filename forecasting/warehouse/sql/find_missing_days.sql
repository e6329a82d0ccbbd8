-- The stored days with values that `incoming` does not have: they are about to be deleted.
-- $1 text     source
-- $2 text[]   keys of the sites
-- $3 date     first day
-- $4 date     the day after the last day
select sites.site as name, count(distinct d.day) as num_days, min(d.day) as first_day, max(d.day) as last_day
from forecasting.sites
inner join forecasting.daily as d on d.site = sites.site
where
    sites.source = $1::text
    and sites.key = any($2::text[])
    and d.day >= $3::date
    and d.day < $4::date
    and d.value <> 'NaN'
    and not exists (
        select from incoming
        where incoming.key = sites.key and incoming.metric = d.metric and incoming.day = d.day
    )
group by sites.site
order by sites.site;
