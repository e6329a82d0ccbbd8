-- The forecasts in `made`, a row each day ahead. A row that says the same already stays as it is.
-- $1 text         version
-- $2 timestamptz  when they were made
-- $3 integer      quantiles a day
insert into forecasting.forecasts as stored (site, metric, cutoff, day, version, made_at, quantiles)
select
    made.site,
    made.metric,
    made.cutoff,
    made.cutoff + ahead.day as day,
    $1::text as version,
    $2::timestamptz as made_at,
    made.quantiles[$3::integer * (ahead.day - 1) + 1 : $3::integer * ahead.day] as quantiles
from made
cross join lateral generate_series(1, cardinality(made.quantiles) / $3::integer) as ahead (day)
on conflict (site, metric, version, cutoff, day) do update
    set made_at = excluded.made_at, quantiles = excluded.quantiles
    where stored.quantiles is distinct from excluded.quantiles;
