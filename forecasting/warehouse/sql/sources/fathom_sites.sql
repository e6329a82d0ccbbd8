-- Fathom Lite's sites, with their first and last hours: one step each in the index (site_id, ts).
select
    site.id::text as key,
    coalesce(nullif(site.name, ''), site.id::text) as name,
    null::timestamptz as began,
    oldest.ts at time zone 'UTC' as first,
    newest.ts at time zone 'UTC' as last,
    null::text as timezone
from sites as site
left join lateral (
    select stats.ts
    from site_stats as stats
    where stats.site_id = site.id
    order by stats.ts
    limit 1
) as oldest on true
left join lateral (
    select stats.ts
    from site_stats as stats
    where stats.site_id = site.id
    order by stats.ts desc
    limit 1
) as newest on true
order by name, site.id;
