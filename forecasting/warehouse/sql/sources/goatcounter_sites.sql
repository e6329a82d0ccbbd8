-- GoatCounter's sites, except deleted ones, with the hours of their first and last views: two steps per page in the
-- index of the constraint (site_id, path_id, hour). Versions of 2026 no longer have an index on site and hour, and
-- first_hit_at keeps its value when retention deletes those hits.
select
    site.site_id::text as key,
    coalesce(site.cname, site.code) as name,
    null::timestamptz as began,
    extent.first at time zone 'UTC' as first,
    extent.last at time zone 'UTC' as last,
    null::text as timezone
from sites as site
left join lateral (
    select
        min(oldest.hour) as first,
        max(newest.hour) as last
    from paths as path
    cross join lateral (
        select hit.hour
        from hit_counts as hit
        where hit.site_id = path.site_id and hit.path_id = path.path_id
        order by hit.hour
        limit 1
    ) as oldest
    cross join lateral (
        select hit.hour
        from hit_counts as hit
        where hit.site_id = path.site_id and hit.path_id = path.path_id
        order by hit.hour desc
        limit 1
    ) as newest
    where path.site_id = site.site_id and coalesce(path.event, 0) = 0
) as extent on true
where site.state = 'a'
order by name, site.site_id;
