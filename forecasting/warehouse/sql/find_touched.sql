-- Fills `touched`.
-- $1 date         today: days from it on are not over
-- $2 timestamptz  what changed since then; NULL: everything
-- $3 integer      days before today beyond which outcomes stay as they are, unless there are none at all
insert into touched (site, metric, first_day)
with bounds as (
    select
        case
            when exists (select from forecasting.outcomes) then $1::date - $3::integer
            else date '1990-01-01'
        end as oldest,
        coalesce($2::timestamptz, '-infinity') as since
)

select
    changed.site,
    changed.metric,
    date_trunc('week', min(changed.day))::date as first_day
from (
    select d.site, d.metric, d.day
    from forecasting.daily as d
    cross join bounds
    where d.day >= bounds.oldest and d.day < $1::date and (d.read_at >= bounds.since or d.day >= $1::date - 14)
    union all
    select forecast.site, forecast.metric, forecast.day
    from forecasting.forecasts as forecast
    cross join bounds
    where forecast.made_at >= bounds.since and forecast.day >= bounds.oldest and forecast.day < $1::date
) as changed
group by changed.site, changed.metric;
