-- The first and last day in `incoming`, and its sites. Always one row.
-- $1 text     source
select
    min(incoming.day) as first_day,
    max(incoming.day) as last_day,
    coalesce(array_agg(distinct sites.site), '{}') as sites
from incoming
inner join forecasting.sites on sites.source = $1::text and sites.key = incoming.key;
