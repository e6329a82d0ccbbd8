-- The oldest stored day of each site.
-- $1 text[]   sites
select d.site, min(d.day) as day
from forecasting.daily as d
where d.site = any($1::text[]) and isfinite(d.day)
group by d.site;
