-- Replaces what a source knows about days. Rows that are there already stay, since every change of a row counts as one of
-- what forecasts are made from.
-- $1 text     source
-- $2 jsonb    an object per event; its `key` is the site's key in the source, NULL for all sites
with known as (
    select distinct sites.site, given.metric, given.day as first_day, given.note, given.is_break
    from jsonb_to_recordset($2::jsonb) as given (key text, metric text, day date, note text, is_break boolean)
    left join forecasting.sites on sites.source = $1::text and sites.key = given.key
    where given.key is null or sites.site is not null
),

gone as (
    delete from forecasting.events
    where
        events.source = $1::text
        and not exists (
            select from known
            where
                (known.site, known.metric, known.first_day, known.note, known.is_break)
                is not distinct from (events.site, events.metric, events.first_day, events.note, events.is_break)
        )
)

insert into forecasting.events (source, site, metric, first_day, note, is_break)
select $1::text, known.site, known.metric, known.first_day, known.note, known.is_break
from known
where not exists (
    select from forecasting.events
    where
        events.source = $1::text
        and (known.site, known.metric, known.first_day, known.note, known.is_break)
        is not distinct from (events.site, events.metric, events.first_day, events.note, events.is_break)
);
