-- Counts what became of the forecasts in `touched`. Returns of how many forecast days that is known.
-- $1 date    today: days from it on are not over
-- $2 text[]  verdicts that mask a value
-- $3 real[]  the levels of the quantiles
with counted as (
    insert into forecasting.outcomes (
        site, metric, version, days_ahead, week, num_days, absolute_error, naive_error, pinball, inside_80, inside_90
    )
    select
        forecast.site,
        forecast.metric,
        forecast.version,
        forecast.day - forecast.cutoff as days_ahead,
        date_trunc('week', forecast.day)::date as week,
        count(*) as num_days,
        sum(abs(d.value - forecast.quantiles[4])) as absolute_error,
        sum(abs(d.value - coalesce(week_before.value, earlier.value))) as naive_error,
        sum(loss.pinball) as pinball,
        count(*) filter (where d.value between forecast.quantiles[2] and forecast.quantiles[6]) as inside_80,
        count(*) filter (where d.value between forecast.quantiles[1] and forecast.quantiles[7]) as inside_90
    from touched
    inner join forecasting.forecasts as forecast
        on
            forecast.site = touched.site
            and forecast.metric = touched.metric
            and forecast.day >= touched.first_day
            and forecast.day < $1::date
    inner join forecasting.daily as d
        on
            d.site = forecast.site
            and d.metric = forecast.metric
            and d.day = forecast.day
            and d.value <> 'NaN'
            and d.verdict <> all($2::text[])
    -- The same weekday of the last week up to the cutoff, else of the last of the eight weeks where it is known.
    left join forecasting.daily as week_before
        on
            week_before.site = forecast.site
            and week_before.metric = forecast.metric
            and week_before.day = forecast.day - 7 * ((forecast.day - forecast.cutoff + 6) / 7)
            and week_before.value <> 'NaN'
            and week_before.verdict <> all($2::text[])
    left join lateral (
        select older.value
        from forecasting.daily as older
        where
            week_before.value is null
            and older.site = forecast.site
            and older.metric = forecast.metric
            and older.day = any(array(
                select forecast.day - 7 * ((forecast.day - forecast.cutoff + 6) / 7) - 7 * weeks.number
                from generate_series(1, 7) as weeks (number)
            ))
            and older.value <> 'NaN'
            and older.verdict <> all($2::text[])
        order by older.day desc
        limit 1
    ) as earlier on true
    cross join lateral (
        select
            avg(
                greatest(
                    levels.level * (d.value - levels.quantile), (levels.level - 1) * (d.value - levels.quantile)
                )
            ) as pinball
        from unnest(forecast.quantiles, $3::real[]) as levels (quantile, level)
    ) as loss
    where coalesce(week_before.value, earlier.value) is not null
    group by forecast.site, forecast.metric, forecast.version, days_ahead, week
    returning num_days
)

select coalesce(sum(counted.num_days), 0) as num_days
from counted;
