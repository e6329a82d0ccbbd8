-- The sites and metrics that have a value on any day. Reads the whole table.
select distinct d.site, d.metric
from forecasting.daily as d
where d.value <> 'NaN' and isfinite(d.day);
