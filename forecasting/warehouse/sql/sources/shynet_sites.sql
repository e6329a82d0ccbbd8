-- Shynet's sites, except archived ones (AR), which no longer record anything, with the times of their first session and
-- of their last session or hit of a human: a few steps each in the indexes (service_id, start_time desc). They are
-- ordered by both columns of these indexes, and compared with >= and <= instead of =. With = PostgreSQL would ignore
-- service_id in the order, and might walk the index on start_time alone: all of it, for a site without sessions.
-- Sessions and hits before 1990 or from the future have a wrong date, and are only counted.
with human_session as not materialized (
    select session.service_id, session.start_time
    from analytics_session as session
    where
        session.device_type <> 'ROBOT'
        and session.start_time >= timestamptz '1990-01-01 00:00+00'
        and session.start_time < now() + interval '1 day'
)

select
    service.uuid::text as key,
    coalesce(nullif(service.name, ''), nullif(service.link, ''), service.uuid::text) as name,
    null::timestamptz as began,
    oldest_session.start_time as first,
    greatest(newest_session.start_time, newest_hit.start_time) as last,
    null::text as timezone,
    misdated.num_rows as num_misdated,
    misdated.first as misdated_first,
    misdated.last as misdated_last
from core_service as service
left join lateral (
    select session.start_time
    from human_session as session
    where session.service_id >= service.uuid and session.service_id <= service.uuid
    order by session.service_id desc, session.start_time
    limit 1
) as oldest_session on true
left join lateral (
    select session.start_time
    from human_session as session
    where session.service_id >= service.uuid and session.service_id <= service.uuid
    order by session.service_id, session.start_time desc
    limit 1
) as newest_session on true
left join lateral (
    select hit.start_time
    from analytics_hit as hit
    where
        hit.service_id >= service.uuid
        and hit.service_id <= service.uuid
        and hit.start_time >= timestamptz '1990-01-01 00:00+00'
        and hit.start_time < now() + interval '1 day'
        and not exists (
            select from analytics_session as session
            where session.uuid = hit.session_id and session.device_type = 'ROBOT'
        )
    order by hit.service_id, hit.start_time desc
    limit 1
) as newest_hit on true
cross join lateral (
    select count(*) as num_rows, min(stray.start_time)::date::text as first, max(stray.start_time)::date::text as last
    from (
        select session.start_time
        from analytics_session as session
        where
            session.service_id = service.uuid
            and session.start_time < timestamptz '1990-01-01 00:00+00'
            and session.device_type <> 'ROBOT'
        union all
        select session.start_time
        from analytics_session as session
        where
            session.service_id = service.uuid
            and session.start_time >= now() + interval '1 day'
            and session.device_type <> 'ROBOT'
        union all
        select hit.start_time
        from analytics_hit as hit
        where hit.service_id = service.uuid and hit.start_time < timestamptz '1990-01-01 00:00+00'
        union all
        select hit.start_time
        from analytics_hit as hit
        where hit.service_id = service.uuid and hit.start_time >= now() + interval '1 day'
    ) as stray
) as misdated
where service.status = 'AC'
order by name, key;
