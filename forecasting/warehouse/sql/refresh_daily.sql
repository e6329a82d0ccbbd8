-- Writes `incoming` to forecasting.daily, deletes what it lacks of some days, and counts the rows that changed.
-- $1 text     source
-- $2 text[]   keys of the sites that were read
-- $3 date     first day of which rows are deleted
-- $4 date     the day after the last such day
-- $5 boolean  whether days older than the source's oldest day are kept: it deletes old data
with site as materialized (
    select sites.site, sites.key, sites.first_day
    from forecasting.sites
    where sites.source = $1::text and sites.key = any($2::text[])
),

gone as (
    delete from forecasting.daily as stored
    using site, forecasting.metrics
    where
        stored.site = site.site
        and metrics.source = $1::text
        and metrics.gone_at is null
        and stored.metric = metrics.metric
        and stored.day >= $3::date
        and stored.day < $4::date
        and (not $5::boolean or stored.day > site.first_day)
        and not exists (
            select from incoming
            where incoming.key = site.key and incoming.metric = stored.metric and incoming.day = stored.day
        )
    returning 1
),

written as (
    insert into forecasting.daily as stored (site, metric, day, value, verdict, read_at, hours)
    select
        site.site,
        incoming.metric,
        incoming.day,
        incoming.value,
        case when incoming.value <> 'NaN' then 'observed' else 'unmeasured' end as verdict,
        now() as read_at,
        incoming.hours
    from incoming
    inner join site on site.key = incoming.key
    order by site.site, incoming.metric, incoming.day
    on conflict (site, metric, day) do update
        set
            value = excluded.value,
            verdict = excluded.verdict,
            read_at = excluded.read_at,
            hours = excluded.hours
        where (stored.value, stored.hours) is distinct from (excluded.value, excluded.hours)
    returning 1
)

select (select count(*) from gone) + (select count(*) from written) as num_rows;
