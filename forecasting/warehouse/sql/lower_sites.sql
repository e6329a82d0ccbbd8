-- Notes that sites are to be read from a day on, so that an update which ends early is made up for by the next.
-- $1 text     source
-- $2 text[]   keys
-- $3 date     from this day on
update forecasting.sites
set read_until = $3::date
where
    sites.source = $1::text
    and sites.key = any($2::text[])
    and coalesce(sites.read_until, 'infinity') > $3::date;
