-- Of each site: a week, the week before, what was forecast for it before it began, and the newest forecast.
-- $1 text    metric
-- $2 date    first day of the week
-- $3 text[]  sites; empty: all
select
    judged.site,
    array(
        select d.value
        from forecasting.daily as d
        where
            d.site = judged.site
            and d.metric = judged.metric
            and d.day >= $2::date
            and d.day < $2::date + 7
            and d.value <> 'NaN'
    ) as values,
    array(
        select d.value
        from forecasting.daily as d
        where
            d.site = judged.site
            and d.metric = judged.metric
            and d.day >= $2::date - 7
            and d.day < $2::date
            and d.value <> 'NaN'
    ) as values_before,
    (
        select array_agg(forecast.quantiles order by forecast.day)
        from forecasting.forecasts as forecast
        inner join (
            select
                f.cutoff,
                f.version
            from forecasting.forecasts as f
            where
                f.site = judged.site
                and f.metric = judged.metric
                and f.cutoff < $2::date
                and f.cutoff >= $2::date - 7
                and f.day = $2::date + 6
            order by f.cutoff desc, f.made_at desc
            limit 1
        ) as latest on forecast.cutoff = latest.cutoff and forecast.version = latest.version
        where
            forecast.site = judged.site
            and forecast.metric = judged.metric
            and forecast.day >= $2::date
            and forecast.day < $2::date + 7
    ) as expected,
    (
        select array_agg(forecast.quantiles order by forecast.day)
        from forecasting.forecasts as forecast
        inner join (
            select
                f.cutoff,
                f.version
            from forecasting.forecasts as f
            where f.site = judged.site and f.metric = judged.metric
            order by f.cutoff desc, f.made_at desc
            limit 1
        ) as latest on forecast.cutoff = latest.cutoff and forecast.version = latest.version
        where
            forecast.site = judged.site
            and forecast.metric = judged.metric
            and forecast.cutoff >= $2::date + 5
            and forecast.day <= forecast.cutoff + 7
    ) as ahead
from forecasting.judged
where
    judged.metric = $1::text
    and (cardinality($3::text[]) = 0 or judged.site = any($3::text[]))
    and not exists (
        select from forecasting.sites where sites.site = judged.site and sites.gone_at is not null
    )
order by judged.site;
