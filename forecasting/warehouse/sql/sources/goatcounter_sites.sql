-- GoatCounter's sites, but for deleted ones, with the hours of their first and last view: two steps a page in the index
-- of the constraint (site_id, path_id, hour). Versions of 2026 have no index of site and hour any more, and
-- first_hit_at stays when retention deletes what it means.
select
    site.site_id::text as key,
    coalesce(site.cname, site.code) as name,
    null::timestamptz as began,
    kept.first at time zone 'UTC' as first,
    kept.last at time zone 'UTC' as last,
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
) as kept on true
where site.state = 'a'
order by name, site.site_id;
