-- Records that sites are to be read from a day on: if this update ends early, the next one starts there.
-- $1 text     source
-- $2 text[]   keys
-- $3 date     first day to read
update forecasting.sites
set read_until = $3::date
where
    sites.source = $1::text
    and sites.key = any($2::text[])
    and coalesce(sites.read_until, 'infinity') > $3::date;
