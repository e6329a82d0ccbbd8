-- Stores a source's metrics. Those that are gone are kept with their days, or deleted. Returns the metrics that are new,
-- are there again, or whose definition has changed.
-- $1 text     source
-- $2 jsonb    an object per metric, in the source's order
-- $3 boolean  whether metrics that are gone are deleted with their days
with listed as (
    select entry.place, described.metric, described.kind, described.additive, described.unit, described.revision
    from jsonb_array_elements($2::jsonb) with ordinality as entry (object, place)
    cross join lateral jsonb_to_record(entry.object)
        as described (metric text, kind text, additive boolean, unit text, revision text)
),

gone as (
    select metrics.metric
    from forecasting.metrics
    where metrics.source = $1::text and metrics.metric not in (select listed.metric from listed)
),

retired as (
    update forecasting.metrics
    set gone_at = now()
    from gone
    where not $3::boolean and metrics.source = $1::text and metrics.metric = gone.metric and metrics.gone_at is null
),

deleted as (
    delete from forecasting.metrics
    using gone
    where $3::boolean and metrics.source = $1::text and metrics.metric = gone.metric
),

deleted_days as (
    delete from forecasting.daily
    using forecasting.sites, gone
    where $3::boolean and sites.source = $1::text and daily.site = sites.site and daily.metric = gone.metric
),

written as (
    insert into forecasting.metrics as stored (source, metric, kind, additive, unit, place, revision)
    select $1::text, listed.metric, listed.kind, listed.additive, listed.unit, listed.place, listed.revision
    from listed
    on conflict (source, metric) do update
        set
            kind = excluded.kind,
            additive = excluded.additive,
            unit = excluded.unit,
            place = excluded.place,
            revision = excluded.revision,
            gone_at = null
    returning metric, revision, xmax = 0 as is_new
)

select written.metric, written.is_new or before.gone_at is not null as is_new
from written
left join forecasting.metrics as before on before.source = $1::text and before.metric = written.metric
where written.is_new or before.gone_at is not null or before.revision <> written.revision;
