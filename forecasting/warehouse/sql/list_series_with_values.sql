-- The series that have a value on any day. Reads the whole table.
-- $1 text     the source that the sites belong to; empty: any
select distinct d.site, d.metric
from forecasting.daily as d
where d.value <> 'NaN' and d.day >= '1990-01-01' and d.day < '9999-12-31'
    and (
        $1::text = ''
        or d.site in (
            select sites.site from forecasting.sites where sites.source = $1::text and sites.gone_at is null
        )
    );
