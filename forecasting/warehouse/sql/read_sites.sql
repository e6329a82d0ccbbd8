-- The sites of all sources, and how far each has been read.
select sites.site, sites.source, sites.key, sites.timezone, sites.began, sites.first_day, sites.read_until, sites.rules
from forecasting.sites;
