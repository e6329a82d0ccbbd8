-- The sites of a source, with the newest day of each that has a value.
-- $1 text  source
-- $2 date  today: days from it on are left out
select
    sites.site,
    sites.key,
    sites.timezone,
    sites.arrivals,
    array_remove(sites.aliases, sites.site) as aliases,
    sites.gone_at is not null as is_gone,
    (
        select max(newest.day)
        from forecasting.metrics
        cross join lateral (
            select d.day
            from forecasting.daily as d
            where
                d.site = sites.site
                and d.metric = metrics.metric
                and d.day < $2::date
                and d.day >= '1990-01-01'
                and d.value <> 'NaN'
            order by d.day desc
            limit 1
        ) as newest
        where metrics.source = $1::text
    ) as newest
from forecasting.sites
where sites.source = $1::text
order by sites.site;
