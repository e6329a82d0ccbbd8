-- Days of a series for a chart: what was counted, the 80% band and the median of the day before (of days ahead, of the
-- newest forecast), and what is unusual.
-- $1 text  site
-- $2 text  metric
-- $3 date  first and
-- $4 date  last day
select
    days.day::date as day,
    d.value,
    forecast.quantiles[2] as lower,
    forecast.quantiles[4] as median,
    forecast.quantiles[6] as upper,
    coalesce(anomaly.direction, '') as direction,
    anomaly.lower as expected_lower,
    anomaly.upper as expected_upper
from generate_series($3::date, $4::date, interval '1 day') as days (day)
left join forecasting.daily as d on d.site = $1::text and d.metric = $2::text and d.day = days.day::date and d.value <> 'NaN'
left join forecasting.anomalies as anomaly
    on
        anomaly.site = $1::text
        and anomaly.metric = $2::text
        and anomaly.day = days.day::date
        and anomaly.kind = 'day'
        and anomaly.told_at is not null
        and anomaly.withdrawn_at is null
left join lateral (
    select f.quantiles
    from forecasting.forecasts as f
    where
        f.site = $1::text
        and f.metric = $2::text
        and f.day = days.day::date
        and (f.cutoff = days.day::date - 1 or d.value is null)
    order by f.cutoff desc, f.made_at desc
    limit 1
) as forecast on true
order by days.day;
