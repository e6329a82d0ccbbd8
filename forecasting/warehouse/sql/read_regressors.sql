-- The regressors of a table or file, one row for each site and name.
-- $1 text     the table or file
-- $2 text[]   sites; empty text: what holds for all sites; NULL: all
select site, name, first_day, numbers
from forecasting.regressors
where origin = $1 and ($2::text[] is null or site = any($2::text[]))
order by site, name;
