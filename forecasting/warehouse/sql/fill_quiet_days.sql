-- Of events: a day without any, between two that have some, had no traffic. Counts are zero then, the rest has no value.
-- Days are filled from the last one known before, up to the last one that has come now: after it nobody knows yet.
-- $1 text     source
-- $2 date     the first day that was asked for
insert into incoming (key, metric, day, value, hours)
select known.key, metrics.metric, quiet.day::date, case when metrics.kind = 'count' then 0 end, coalesce(hour.hours, 0)
from (
    select incoming.key, sites.site, min(incoming.day) as first_day, max(incoming.day) as last_day
    from incoming
    inner join forecasting.sites on sites.source = $1::text and sites.key = incoming.key
    group by incoming.key, sites.site
) as known
inner join forecasting.metrics on metrics.source = $1::text
left join lateral (
    select max(stored.day) as day
    from forecasting.daily as stored
    where stored.site = known.site and stored.metric = metrics.metric and stored.day < $2::date
) as before on true
cross join lateral generate_series(
    coalesce(before.day + 1, known.first_day)::timestamp, known.last_day::timestamp, interval '1 day'
) as quiet (day)
left join lateral (
    select incoming.hours
    from incoming
    where incoming.key = known.key and incoming.day = quiet.day::date
    limit 1
) as hour on true
where not exists (
    select from incoming
    where incoming.key = known.key and incoming.metric = metrics.metric and incoming.day = quiet.day::date
);
