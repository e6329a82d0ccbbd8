-- Days of sites with their stored verdicts: one row per series, with its days as numbers since 1970-01-01.
-- NULL becomes NaN, and -1 for hours, so that all elements have the same length.
-- $1 text[]   sites
-- $2 date     first day
-- $3 date     the day after the last day
-- $4 text[]   names of the verdicts, in the order of their numbers from 0
select
    d.site,
    d.metric,
    array_agg(d.day - date '1970-01-01') as days,
    array_agg(coalesce(d.value, 'NaN')) as values,
    array_agg(coalesce(d.hours, -1)) as hours,
    array_agg(coalesce(array_position($4::text[], d.verdict) - 1, -1)) as verdicts,
    array[(
        select min(oldest.day) - date '1970-01-01'
        from forecasting.daily as oldest
        where
            oldest.site = d.site
            and oldest.metric = d.metric
            and oldest.day >= '1990-01-01'
            and oldest.day < '9999-12-31'
    )] as oldest,
    array[(
        select max(newest.day) - date '1970-01-01'
        from forecasting.daily as newest
        where
            newest.site = d.site
            and newest.metric = d.metric
            and newest.day >= '1990-01-01'
            and newest.day < '9999-12-31'
    )] as newest
from forecasting.daily as d
where
    d.site = any($1::text[])
    and d.day >= $2::date
    and d.day < $3::date
    and d.day >= '1990-01-01'
    and d.day < '9999-12-31'
group by d.site, d.metric
order by d.site, d.metric;
