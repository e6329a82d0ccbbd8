-- Deletes forecasts from cutoffs before a day, except the newest of each series. What became of them stays.
-- $1 date  the day
with deleted as (
    delete from forecasting.forecasts as forecast
    where
        forecast.cutoff < $1::date
        and forecast.cutoff < (
            select max(newer.cutoff) from forecasting.forecasts as newer
            where newer.site = forecast.site and newer.metric = forecast.metric
        )
    returning 1
)

select count(*) as num_rows
from deleted;
