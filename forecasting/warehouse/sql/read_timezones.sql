-- The time zones of a source's sites; an empty array if it has no site. Always one row.
-- $1 text     source
select coalesce(array_agg(distinct sites.timezone), '{}') as timezones
from forecasting.sites
where sites.source = $1::text and sites.gone_at is null;
