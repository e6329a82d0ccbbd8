-- Kaunta's sites, except deleted ones, with the times of their first and last views: one step each in the index
-- (website_id, event_type, created_at) of the first partition that has a view. A site whose deletion is pending is
-- included. Views before 1990 or from the future have a wrong date, and are only counted.
select
    website.website_id::text as key,
    coalesce(nullif(website.name, ''), nullif(website.domain, ''), website.website_id::text) as name,
    null::timestamptz as began,
    oldest.created_at as first,
    newest.created_at as last,
    null::text as timezone,
    misdated.num_rows as num_misdated,
    misdated.first as misdated_first,
    misdated.last as misdated_last
from website
left join lateral (
    select event.created_at
    from website_event as event
    where
        event.website_id = website.website_id
        and event.event_type = 1
        and event.created_at >= timestamptz '1990-01-01 00:00+00'
        and event.created_at < now() + interval '1 day'
    order by event.created_at
    limit 1
) as oldest on true
left join lateral (
    select event.created_at
    from website_event as event
    where
        event.website_id = website.website_id
        and event.event_type = 1
        and event.created_at >= timestamptz '1990-01-01 00:00+00'
        and event.created_at < now() + interval '1 day'
    order by event.created_at desc
    limit 1
) as newest on true
cross join lateral (
    select count(*) as num_rows, min(stray.created_at)::date::text as first, max(stray.created_at)::date::text as last
    from (
        select event.created_at
        from website_event as event
        where
            event.website_id = website.website_id
            and event.event_type = 1
            and event.created_at < timestamptz '1990-01-01 00:00+00'
        union all
        select event.created_at
        from website_event as event
        where
            event.website_id = website.website_id
            and event.event_type = 1
            and event.created_at >= now() + interval '1 day'
    ) as stray
) as misdated
where website.deleted_at is null
order by name, key;
