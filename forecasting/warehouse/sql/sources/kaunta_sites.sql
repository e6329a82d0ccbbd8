-- Kaunta's sites, except deleted ones, with the times of their first and last views: one step each in the index
-- (website_id, event_type, created_at) of the first partition that has a view. A site whose deletion is pending is
-- included.
select
    website.website_id::text as key,
    coalesce(nullif(website.name, ''), nullif(website.domain, ''), website.website_id::text) as name,
    null::timestamptz as began,
    oldest.created_at as first,
    newest.created_at as last,
    null::text as timezone
from website
left join lateral (
    select event.created_at
    from website_event as event
    where event.website_id = website.website_id and event.event_type = 1
    order by event.created_at
    limit 1
) as oldest on true
left join lateral (
    select event.created_at
    from website_event as event
    where event.website_id = website.website_id and event.event_type = 1
    order by event.created_at desc
    limit 1
) as newest on true
where website.deleted_at is null
order by name, key;
