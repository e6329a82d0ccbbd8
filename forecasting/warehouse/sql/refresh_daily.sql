-- Makes forecasting.daily say what `incoming` says of its series, and counts the rows that were not so before.
with gone as (
    delete from forecasting.daily as stored
    using (select distinct incoming.site, incoming.metric from incoming) as series
    where
        stored.site = series.site
        and stored.metric = series.metric
        and not exists (
            select from incoming
            where incoming.site = stored.site and incoming.metric = stored.metric and incoming.day = stored.day
        )
    returning 1
),

written as (
    insert into forecasting.daily as stored (site, metric, day, value, verdict, read_at)
    select incoming.site, incoming.metric, incoming.day, incoming.value, incoming.verdict, now()
    from incoming
    order by incoming.site, incoming.metric, incoming.day
    on conflict (site, metric, day) do update
        set value = excluded.value, verdict = excluded.verdict, read_at = excluded.read_at
        where (stored.value, stored.verdict) is distinct from (excluded.value, excluded.verdict)
    returning 1
)

select (select count(*) from gone) + (select count(*) from written) as num_rows;
