-- The series that have a value on any day. Reads the whole table.
-- $1 text     the source that the sites belong to; empty: any
select distinct d.site, d.metric
from forecasting.daily as d
where d.value <> 'NaN' and isfinite(d.day)
    and ($1::text = '' or d.site in (select sites.site from forecasting.sites where sites.source = $1::text));
