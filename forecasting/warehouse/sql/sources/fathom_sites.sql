-- Fathom Lite's sites, with their first and last hours: one step each in the index (site_id, ts). Hours before 1990 or
-- in the future have a wrong date, and are only counted.
select
    site.id::text as key,
    coalesce(nullif(site.name, ''), site.id::text) as name,
    null::timestamptz as began,
    oldest.ts at time zone 'UTC' as first,
    newest.ts at time zone 'UTC' as last,
    null::text as timezone,
    misdated.num_rows as num_misdated,
    misdated.first as misdated_first,
    misdated.last as misdated_last
from sites as site
left join lateral (
    select stats.ts
    from site_stats as stats
    where
        stats.site_id = site.id
        and stats.ts >= timestamp '1990-01-01'
        and stats.ts < now() at time zone 'UTC' + interval '1 day'
    order by stats.ts
    limit 1
) as oldest on true
left join lateral (
    select stats.ts
    from site_stats as stats
    where
        stats.site_id = site.id
        and stats.ts >= timestamp '1990-01-01'
        and stats.ts < now() at time zone 'UTC' + interval '1 day'
    order by stats.ts desc
    limit 1
) as newest on true
cross join lateral (
    select count(*) as num_rows, min(stray.ts)::date::text as first, max(stray.ts)::date::text as last
    from (
        select stats.ts
        from site_stats as stats
        where stats.site_id = site.id and stats.ts < timestamp '1990-01-01'
        union all
        select stats.ts
        from site_stats as stats
        where stats.site_id = site.id and stats.ts >= now() at time zone 'UTC' + interval '1 day'
    ) as stray
) as misdated
order by name, site.id;
