-- Replaces what a source knows about days.
-- $1 text     source
-- $2 jsonb    an object per event; its `key` is the site's key in the source, NULL for all sites
with gone as (
    delete from forecasting.events
    where events.source = $1::text
)

insert into forecasting.events (source, site, metric, day, note, is_break)
select $1::text, sites.site, known.metric, known.day, known.note, known.is_break
from jsonb_to_recordset($2::jsonb) as known (key text, metric text, day date, note text, is_break boolean)
left join forecasting.sites on sites.source = $1::text and sites.key = known.key
where known.key is null or sites.site is not null;
