-- What a source knows about days.
-- $1 text     source
select events.site, events.metric, events.day, events.note, events.is_break
from forecasting.events
where events.source = $1::text
order by events.day, events.site, events.metric, events.note;
