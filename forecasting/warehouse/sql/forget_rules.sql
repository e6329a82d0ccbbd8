-- Has all days of sites judged again: a verdict depends on the days before, some of which have changed.
-- $1 text     source
-- $2 text[]   keys
update forecasting.sites
set rules = ''
where sites.source = $1::text and sites.key = any($2::text[]);
