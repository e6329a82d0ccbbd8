-- Shynet's sites, but for archived ones (AR), which record nothing any more, with the moments of their first session
-- and last session or hit that is no robot's: a few steps each in the indexes (service_id, start_time desc). They are
-- asked for in the order of just these, and with >= and <= for =, after which service_id would count for nothing in
-- the order: PostgreSQL might take the index on start_time, and find no row of a quiet site in all of it.
select
    service.uuid::text as key,
    coalesce(nullif(service.name, ''), nullif(service.link, ''), service.uuid::text) as name,
    null::timestamptz as began,
    oldest_session.start_time as first,
    greatest(newest_session.start_time, newest_hit.start_time) as last,
    null::text as timezone
from core_service as service
left join lateral (
    select session.start_time
    from analytics_session as session
    where
        session.service_id >= service.uuid
        and session.service_id <= service.uuid
        and session.device_type <> 'ROBOT'
    order by session.service_id desc, session.start_time
    limit 1
) as oldest_session on true
left join lateral (
    select session.start_time
    from analytics_session as session
    where
        session.service_id >= service.uuid
        and session.service_id <= service.uuid
        and session.device_type <> 'ROBOT'
    order by session.service_id, session.start_time desc
    limit 1
) as newest_session on true
left join lateral (
    select hit.start_time
    from analytics_hit as hit
    where
        hit.service_id >= service.uuid
        and hit.service_id <= service.uuid
        and not exists (
            select from analytics_session as session
            where session.uuid = hit.session_id and session.device_type = 'ROBOT'
        )
    order by hit.service_id, hit.start_time desc
    limit 1
) as newest_hit on true
where service.status = 'AC'
order by name, key;
