-- Stores the forecasts in `incoming_forecasts`, one row per day ahead. Rows that would not change stay untouched: those
-- of TorchServe and of this process differ in the last digits, by less than a ten-thousandth. Series that have
-- lost their days are left out: their sites were renamed or deleted while they were forecast.
-- $1 text         version
-- $2 timestamptz  when they were made
-- $3 integer      quantiles per day
insert into forecasting.forecasts as stored (site, metric, cutoff, day, version, made_at, quantiles)
select
    incoming.site,
    incoming.metric,
    incoming.cutoff,
    incoming.cutoff + ahead.day as day,
    $1::text as version,
    $2::timestamptz as made_at,
    incoming.quantiles[$3::integer * (ahead.day - 1) + 1 : $3::integer * ahead.day] as quantiles
from incoming_forecasts as incoming
cross join lateral generate_series(1, cardinality(incoming.quantiles) / $3::integer) as ahead (day)
where
    exists (
        select from forecasting.daily as d
        where d.site = incoming.site and d.metric = incoming.metric
    )
on conflict (site, metric, version, cutoff, day) do update
    set made_at = excluded.made_at, quantiles = excluded.quantiles
    where
        cardinality(stored.quantiles) <> cardinality(excluded.quantiles)
        or exists (
            select from unnest(stored.quantiles, excluded.quantiles) as both_of (old, new)
            where abs(both_of.new - both_of.old) > 1e-4 * abs(both_of.old) + 1e-6
        );
