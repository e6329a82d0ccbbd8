-- How good the kept forecasts of 1 to 7 days ahead were: their error as a share of what was counted, and the share of
-- days in their 80% band.
-- $1 text     metric
-- $2 date     first and
-- $3 date     last day
-- $4 text[]   sites; empty: all
-- $5 text[]   verdicts that mask a day
select
    sum(abs(d.value - forecast.quantiles[4])) / nullif(sum(abs(d.value)), 0) as error,
    avg((d.value between forecast.quantiles[2] and forecast.quantiles[6])::integer)::double precision as coverage,
    count(distinct d.day) as num_days
from forecasting.forecasts as forecast
inner join forecasting.daily as d
    on d.site = forecast.site and d.metric = forecast.metric and d.day = forecast.day
where
    forecast.metric = $1::text
    and forecast.day >= $2::date
    and forecast.day <= $3::date
    and forecast.day - forecast.cutoff between 1 and 7
    and d.value <> 'NaN'
    and d.verdict <> all($5::text[])
    and (cardinality($4::text[]) = 0 or d.site = any($4::text[]));
