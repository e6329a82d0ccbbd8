-- The stored totals of a metric that are not zero, of some sites of a source.
-- $1 text     source
-- $2 text     metric
-- $3 text[]   keys of the sites
-- $4 date     the day after the last day
select sites.key, d.day, d.value as total
from forecasting.sites
inner join forecasting.daily as d on d.site = sites.site
where
    sites.source = $1::text
    and sites.key = any($3::text[])
    and d.metric = $2::text
    and d.day < $4::date
    and d.value > 0
    and d.value <> 'NaN';
