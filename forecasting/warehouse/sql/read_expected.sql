-- What was expected of each day by the newest forecast of the day before, with its 80% band.
-- $1 text     site and
-- $2 text     metric
-- $3 date     first day
select distinct on (forecast.day)
    forecast.day,
    forecast.quantiles[2]::double precision as lower,
    forecast.quantiles[4]::double precision as value,
    forecast.quantiles[6]::double precision as upper
from forecasting.forecasts as forecast
where
    forecast.site = $1::text
    and forecast.metric = $2::text
    and forecast.cutoff >= $3::date - 1
    and forecast.day = forecast.cutoff + 1
order by forecast.day, forecast.made_at desc;
