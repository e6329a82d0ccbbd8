-- What is known about days: what the source knows, and the user's own events. Sites by their present names.
-- $1 text     source
select
    coalesce(present.site, earlier.site, events.site) as site,
    events.metric,
    events.first_day,
    coalesce(events.last_day, events.first_day) as last_day,
    coalesce(events.name, events.note) as name,
    events.size,
    events.note,
    events.is_break,
    events.source
from forecasting.events
left join forecasting.sites as present on present.source = $1::text and present.site = events.site
left join lateral (
    select min(sites.site) as site
    from forecasting.sites
    where present.site is null and sites.source = $1::text and events.site = any(sites.aliases)
    having count(*) = 1
) as earlier on true
where events.source in ($1::text, 'user', 'file')
order by events.first_day, last_day, 1, events.metric, name, events.note;
