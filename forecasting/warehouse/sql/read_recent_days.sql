-- The last days of the series that are named, a row each in their order, and their values, newest first. Days are a number
-- since 1970-01-01; NULL is NaN.
-- $1 text[]   sites and
-- $2 text[]   metrics, in pairs
-- $3 date     today: days from it on are left out
-- $4 integer  how many days, at most
-- $5 text[]   verdicts that mask a value: infinite
select known.days, known.values
from unnest($1::text[], $2::text[]) with ordinality as wanted (site, metric, place)
cross join lateral (
    select
        coalesce(array_agg(recent.day - date '1970-01-01'), '{}') as days,
        coalesce(array_agg(recent.value), '{}') as values
    from (
        select
            d.day,
            case when d.verdict = any($5::text[]) then 'Infinity' else coalesce(d.value, 'NaN') end as value
        from forecasting.daily as d
        where
            d.site = wanted.site
            and d.metric = wanted.metric
            and d.day < $3::date
            and d.day > '-infinity'
        order by d.day desc
        limit $4::integer
    ) as recent
) as known
order by wanted.place;
