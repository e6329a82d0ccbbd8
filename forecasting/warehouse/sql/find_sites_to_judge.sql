-- Sites whose days were judged by other rules, with their first and last days.
-- $1 text     source
-- $2 text     fingerprint of the rules
select sites.site, min(d.day) as first_day, max(d.day) as last_day
from forecasting.sites
inner join forecasting.daily as d on d.site = sites.site
where sites.source = $1::text and sites.rules <> $2::text and d.day >= '1990-01-01' and d.day < '9999-12-31'
group by sites.site
order by sites.site;
