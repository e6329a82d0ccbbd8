-- Notes by which rules the days of sites without any are going to be judged.
-- $1 text     source
-- $2 text     rules
update forecasting.sites
set rules = $2::text
where
    sites.source = $1::text
    and sites.rules = ''
    and not exists (select from forecasting.daily as d where d.site = sites.site);
