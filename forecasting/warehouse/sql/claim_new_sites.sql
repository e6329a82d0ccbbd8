-- Records the rules by which the days of sites without days will be judged.
-- $1 text     source
-- $2 text     fingerprint of the rules
update forecasting.sites
set rules = $2::text
where
    sites.source = $1::text
    and sites.rules = ''
    and not exists (select from forecasting.daily as d where d.site = sites.site);
