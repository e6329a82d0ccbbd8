-- Notes the earlier names of sites. A name that a site has again is not an alias.
-- $1 text[]   sites
-- $2 text[]   the earlier name of each
update forecasting.sites
set aliases = array_append(array_remove(array_remove(sites.aliases, sites.site), renamed.alias), renamed.alias)
from unnest($1::text[], $2::text[]) as renamed (site, alias)
where sites.site = renamed.site;
