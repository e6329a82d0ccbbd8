-- Notes how far sites have been read.
-- $1 text     source
-- $2 text[]   keys
-- $3 date     days before it have been
update forecasting.sites
set read_until = $3::date
where sites.source = $1::text and sites.key = any($2::text[]) and coalesce(sites.read_until, '-infinity') < $3::date;
