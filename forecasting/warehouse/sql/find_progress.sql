-- The day before which all of these sites have been read; -infinity if one of them never was.
-- $1 text     source
-- $2 text[]   keys
select min(coalesce(sites.read_until, '-infinity')) as read_until
from forecasting.sites
where sites.source = $1::text and sites.key = any($2::text[]);
