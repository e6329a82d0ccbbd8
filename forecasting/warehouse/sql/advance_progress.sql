-- Records up to which day sites have been read, unless earlier days are still to be read.
-- $1 text     source
-- $2 text[]   keys
-- $3 date     first day read
-- $4 date     the day after the last day read
update forecasting.sites
set read_until = $4::date
where
    sites.source = $1::text
    and sites.key = any($2::text[])
    and sites.read_until >= $3::date
    and sites.read_until < $4::date;
