-- The last complete day on which any of the sites has a value. Reads all of their rows.
-- $1 date     today, which is not over yet
-- $2 text[]   sites; empty: all
-- $3 text     the source that the sites belong to; empty: any
select max(d.day) as last_day
from forecasting.daily as d
where
    d.day < $1::date
    and isfinite(d.day)
    and d.value <> 'NaN'
    and (cardinality($2::text[]) = 0 or d.site = any($2::text[]))
    and ($3::text = '' or d.site in (select sites.site from forecasting.sites where sites.source = $3::text));
