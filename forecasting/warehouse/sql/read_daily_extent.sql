-- The last complete day on which one of the series has a value. Reads all of their rows.
-- $1 date     today, which is not over
-- $2 text[]   sites; empty: all
-- $3 text[]   metrics; empty: all
select max(d.day) as last_day
from forecasting.daily as d
where
    d.day < $1::date
    and isfinite(d.day)
    and d.value <> 'NaN'
    and (cardinality($2::text[]) = 0 or d.site = any($2::text[]))
    and (cardinality($3::text[]) = 0 or d.metric = any($3::text[]));
