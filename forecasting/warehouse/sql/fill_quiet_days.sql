-- For events: a day without any event, between two days with some, had no traffic. Its counts become zero; its other
-- metrics get a row without a value.
-- Days are filled from the last known day to the last day that has just arrived; later days are still unknown. Days
-- that the source has deleted in the meantime stay unknown, as does the oldest day it still has: it may be incomplete.
-- $1 text     source
-- $2 date     the first day that was read
with arrived as (
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
    select arrived.key, metrics.metric, metrics.kind, expected_day::date as day
    from arrived
    inner join forecasting.metrics on metrics.source = $1::text and metrics.gone_at is null
    left join lateral (
        select max(stored.day) as day
        from forecasting.daily as stored
        where stored.site = arrived.site and stored.metric = metrics.metric and stored.day < $2::date
    ) as before on true
    cross join lateral generate_series(
        coalesce(
            greatest(before.day, case when before.day is not null then arrived.held_since end) + 1, arrived.first
        ),
        arrived.last::timestamp,
        interval '1 day'
    ) as expected_day
)

insert into incoming (key, metric, day, value, hours)
select expected.key, expected.metric, expected.day, case when expected.kind = 'count' then 0 end, coalesce(busy.hours, 0)
from expected
left join busy on busy.key = expected.key and busy.day = expected.day
left join incoming as present
    on present.key = expected.key and present.metric = expected.metric and present.day = expected.day
where present.key is null;
