-- Umami's sites, except deleted ones, with the times of their first and last events. Events older than a reset are
-- gone, or being deleted. Events before 1990 or from the future have a wrong date, and are only counted.
-- Each takes one step in the index (website_id, created_at), because both columns are compared and ordered together.
-- With `website_id =` and the order of created_at alone, PostgreSQL may walk the index (created_at) instead: all of it,
-- for a site without events.
select
    website.website_id::text as key,
    coalesce(nullif(website.name, ''), nullif(website.domain, ''), website.website_id::text) as name,
    case when website.reset_at >= '1990-01-01' and website.reset_at < now() + interval '1 day' then website.reset_at end
        as began,
    oldest.created_at as first,
    newest.created_at as last,
    null::text as timezone,
    misdated.num_rows as num_misdated,
    misdated.first as misdated_first,
    misdated.last as misdated_last
from website
left join lateral (
    select event.website_id, event.created_at
    from website_event as event
    where
        (event.website_id, event.created_at)
        >= (website.website_id, greatest(website.reset_at, timestamptz '1990-01-01 00:00+00'))
    order by event.website_id, event.created_at
    limit 1
) as oldest on oldest.website_id = website.website_id and oldest.created_at <= now() + interval '1 day'
left join lateral (
    select event.website_id, event.created_at
    from website_event as event
    where (event.website_id, event.created_at) <= (website.website_id, now() + interval '1 day')
    order by event.website_id desc, event.created_at desc
    limit 1
) as newest
    on
        newest.website_id = website.website_id
        and newest.created_at >= greatest(website.reset_at, timestamptz '1990-01-01 00:00+00')
cross join lateral (
    select count(*) as num_rows, min(stray.created_at)::date::text as first, max(stray.created_at)::date::text as last
    from (
        select event.created_at
        from website_event as event
        where event.website_id = website.website_id and event.created_at < timestamptz '1990-01-01 00:00+00'
        union all
        select event.created_at
        from website_event as event
        where event.website_id = website.website_id and event.created_at > now() + interval '1 day'
    ) as stray
    where stray.created_at >= coalesce(website.reset_at, '-infinity')
) as misdated
where website.deleted_at is null
order by name, key;
