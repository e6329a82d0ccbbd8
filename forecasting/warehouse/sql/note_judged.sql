-- How far the days of each series have been judged, and which of them began a new level.
-- $1 text[]        sites and
-- $2 text[]        metrics, in pairs
-- $3 date[]        their last days
-- $4 timestamptz   when the days were read
-- $5 text[]        sites,
-- $6 text[]        metrics and
-- $7 date[]        days that began a new level
with marked as (
    update forecasting.anomalies as stored
    set is_new_level = true
    from unnest($5::text[], $6::text[], $7::date[]) as level (site, metric, day)
    where
        stored.site = level.site
        and stored.metric = level.metric
        and stored.day = level.day
        and stored.withdrawn_at is null
        and not stored.is_new_level
)

insert into forecasting.judged as stored (site, metric, until, judged_at)
select
    each.site,
    each.metric,
    each.until,
    $4::timestamptz as judged_at
from unnest($1::text[], $2::text[], $3::date[]) as each (site, metric, until)
order by each.site, each.metric
on conflict (site, metric) do update set until = excluded.until, judged_at = excluded.judged_at;
