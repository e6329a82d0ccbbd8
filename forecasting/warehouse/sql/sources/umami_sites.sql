-- Umami's sites, except deleted ones, with the times of their first and last events. Events older than a reset are
-- gone, or being deleted.
-- Each takes one step in the index (website_id, created_at), because both columns are compared and ordered together.
-- With `website_id =` and the order of created_at alone, PostgreSQL may walk the index (created_at) instead: all of it,
-- for a site without events.
select
    website.website_id::text as key,
    coalesce(nullif(website.name, ''), nullif(website.domain, ''), website.website_id::text) as name,
    website.reset_at as began,
    oldest.created_at as first,
    newest.created_at as last,
    null::text as timezone
from website
left join lateral (
    select event.website_id, event.created_at
    from website_event as event
    where (event.website_id, event.created_at) >= (website.website_id, coalesce(website.reset_at, '-infinity'))
    order by event.website_id, event.created_at
    limit 1
) as oldest on oldest.website_id = website.website_id
left join lateral (
    select event.website_id, event.created_at
    from website_event as event
    where (event.website_id, event.created_at) <= (website.website_id, 'infinity'::timestamptz)
    order by event.website_id desc, event.created_at desc
    limit 1
) as newest on newest.website_id = website.website_id and newest.created_at >= coalesce(website.reset_at, '-infinity')
where website.deleted_at is null
order by name, key;
