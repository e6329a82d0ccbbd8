-- Sites of a source by their keys, names or earlier names, or all of them.
-- $1 text     source
-- $2 text[]   keys and
-- $3 text[]   names; NULL: all sites
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
from forecasting.sites
where
    sites.source = $1::text
    and (
        $3::text[] is null
        or sites.key = any($2::text[])
        or sites.site = any($3::text[])
        or sites.aliases && $3::text[]
    )
order by sites.key;
