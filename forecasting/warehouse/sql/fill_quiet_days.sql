-- Of events: a day without any, between two that have some, had no traffic. Counts are zero then, the rest has no value.
-- Days are filled from the last one known before, up to the last one that has come now: after it nobody knows yet. Of
-- days that the source has dropped since, nobody knows any more, and neither of the oldest it has then: it may be cut.
-- $1 text     source
-- $2 date     the first day that was asked for
with known as (
    select incoming.key, sites.site, sites.first_day as held_since, min(incoming.day) as first, max(incoming.day) as last
    from incoming
    inner join forecasting.sites on sites.source = $1::text and sites.key = incoming.key
    group by incoming.key, sites.site
),

busy as (
    select incoming.key, incoming.day, max(incoming.hours) as hours
    from incoming
    group by incoming.key, incoming.day
),

expected as (
    select known.key, metrics.metric, metrics.kind, expected_day::date as day
    from known
    inner join forecasting.metrics on metrics.source = $1::text
    left join lateral (
        select max(stored.day) as day
        from forecasting.daily as stored
        where stored.site = known.site and stored.metric = metrics.metric and stored.day < $2::date
    ) as before on true
    cross join lateral generate_series(
        coalesce(greatest(before.day, case when before.day is not null then known.held_since end) + 1, known.first),
        known.last::timestamp,
        interval '1 day'
    ) as expected_day
)

insert into incoming (key, metric, day, value, hours)
select expected.key, expected.metric, expected.day, case when expected.kind = 'count' then 0 end, coalesce(busy.hours, 0)
from expected
left join busy on busy.key = expected.key and busy.day = expected.day
left join incoming as there
    on there.key = expected.key and there.metric = expected.metric and there.day = expected.day
where there.key is null;
