-- Notes that sites are gone from their source. If one comes back, its days are read from the beginning.
-- $1 text[]   sites
update forecasting.sites
set gone_at = now(), read_until = null, rules = ''
where sites.site = any($1::text[]);
