-- The oldest stored day of each site.
-- $1 text[]   sites
select d.site, min(d.day) as day
from forecasting.daily as d
where d.site = any($1::text[]) and d.day >= '1990-01-01' and d.day < '9999-12-31'
group by d.site;
