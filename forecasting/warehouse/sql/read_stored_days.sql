-- The stored days of sites of a source on which a metric has a value.
-- $1 text     source
-- $2 text[]   keys
-- $3 date     first day
-- $4 date     the day after the last day
-- $5 text[]   metrics
select sites.key, d.metric, d.day
from forecasting.sites
inner join forecasting.daily as d on d.site = sites.site
where
    sites.source = $1::text
    and sites.key = any($2::text[])
    and d.metric = any($5::text[])
    and d.day >= $3::date
    and d.day < $4::date
    and d.value <> 'NaN';
