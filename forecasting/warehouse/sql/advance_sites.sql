-- Notes how far sites have been read; not where days before these are still to be read.
-- $1 text     source
-- $2 text[]   keys
-- $3 date     from this day
-- $4 date     to before this one days have been
update forecasting.sites
set read_until = $4::date
where
    sites.source = $1::text
    and sites.key = any($2::text[])
    and sites.read_until >= $3::date
    and sites.read_until < $4::date;
