-- Replaces the events that were copied from a file. Rows that are there already stay.
-- $1 jsonb    an object per event; site NULL: all sites
with known as (
    select distinct given.site, given.first_day, given.last_day, given.name, given.size, given.note
    from jsonb_to_recordset($1::jsonb) as given (
        site text, first_day date, last_day date, name text, size double precision, note text
    )
),

gone as (
    delete from forecasting.events
    where
        events.source = 'file'
        and not exists (
            select from known
            where
                (known.site, known.first_day, known.last_day, known.name, known.size, known.note)
                is not distinct from
                (events.site, events.first_day, events.last_day, events.name, events.size, events.note)
        )
)

insert into forecasting.events (source, site, first_day, last_day, name, size, note)
select 'file' as source, known.site, known.first_day, known.last_day, known.name, known.size, known.note
from known
where not exists (
    select from forecasting.events
    where
        events.source = 'file'
        and (known.site, known.first_day, known.last_day, known.name, known.size, known.note)
        is not distinct from (events.site, events.first_day, events.last_day, events.name, events.size, events.note)
);
