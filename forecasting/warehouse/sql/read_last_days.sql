-- The last days of the given series and their values, newest first: one row per series, in the order given.
-- Days are read backwards from the end of each series: the cost depends on the number of series and days, not on the
-- length of the histories, and a series that ended long ago costs no more than any other.
-- `last_verdict` is that of the newest day with a value, if it masks; else empty.
-- Days are numbers since 1970-01-01. NULL becomes NaN, so that all elements have the same length.
-- $1 text[]   sites and
-- $2 text[]   metrics, in pairs
-- $3 date     today: days from it on are left out
-- $4 integer  how many days at most
-- $5 text[]   verdicts that mask a value, which becomes infinite
select history.days, history.values, history.last_verdict
from unnest($1::text[], $2::text[]) with ordinality as series (site, metric, place)
cross join lateral (
    select
        coalesce(array_agg(recent.day - date '1970-01-01'), '{}') as days,
        coalesce(array_agg(recent.value), '{}') as values,
        coalesce((array_agg(recent.verdict) filter (where recent.value <> 'NaN'))[1], '') as last_verdict
    from (
        select
            d.day,
            case when d.verdict = any($5::text[]) then d.verdict else '' end as verdict,
            case when d.verdict = any($5::text[]) then 'Infinity' else coalesce(d.value, 'NaN') end as value
        from forecasting.daily as d
        where
            d.site = series.site
            and d.metric = series.metric
            and d.day < $3::date
            and d.day >= '1990-01-01'
        order by d.day desc
        limit $4::integer
    ) as recent
) as history
order by series.place;
