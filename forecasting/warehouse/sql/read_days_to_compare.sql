-- Of the given series, those with days that are not judged yet, or that changed since: one row each, with the first such
-- day and the last days, newest first; masked is 1 or 0.
-- Days are numbers since 1970-01-01. NULL becomes NaN, so that all elements have the same length.
-- $1 text[]   sites and
-- $2 text[]   metrics, in pairs
-- $3 date     today: days from it on are left out
-- $4 integer  how many days at most
-- $5 text[]   verdicts that mask a value
-- $6 integer  how many days before the last one are judged at most
select
    array[(series.place - 1)::integer, pending.first_day - date '1970-01-01'] as place_and_first_day,
    history.days,
    history.values,
    history.masked
from unnest($1::text[], $2::text[]) with ordinality as series (site, metric, place)
left join forecasting.judged on judged.site = series.site and judged.metric = series.metric
cross join lateral (
    select max(d.day) as day
    from forecasting.daily as d
    where d.site = series.site and d.metric = series.metric and d.day < $3::date and d.value <> 'NaN'
) as newest
cross join lateral (
    select min(d.day) as first_day
    from forecasting.daily as d
    where
        d.site = series.site
        and d.metric = series.metric
        and d.day > newest.day - $6::integer
        and d.day <= newest.day
        and (judged.until is null or d.day > judged.until or d.read_at > judged.judged_at)
) as pending
cross join lateral (
    select
        coalesce(array_agg(recent.day - date '1970-01-01'), '{}') as days,
        coalesce(array_agg(coalesce(recent.value, 'NaN')), '{}') as values,
        coalesce(array_agg((recent.verdict = any($5::text[]))::integer), '{}') as masked
    from (
        select
            d.day,
            d.value,
            d.verdict
        from forecasting.daily as d
        where
            d.site = series.site
            and d.metric = series.metric
            and d.day <= newest.day
            and d.day >= '1990-01-01'
        order by d.day desc
        limit $4::integer
    ) as recent
) as history
where pending.first_day is not null
order by series.place;
