-- The sites of all sources, and how far each has been read. An alias that is the site's name again is none.
select
    sites.site as name,
    sites.source,
    sites.key,
    sites.timezone,
    sites.began,
    sites.read_until,
    array_remove(sites.aliases, sites.site) as aliases,
    sites.gone_at is not null as is_gone,
    sites.first_day,
    sites.arrivals
from forecasting.sites;
