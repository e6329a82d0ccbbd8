-- The regressors of a table or file in place of those that were read from it before. What has not changed is not
-- written again.
-- $1 text   the table or file
-- $2 json   site, name, first_day, numbers
with given as materialized (
    select row.site, row.name, row.first_day, row.numbers
    from json_to_recordset($2::json) as row (site text, name text, first_day date, numbers double precision [])
),

gone as (
    delete from forecasting.regressors as stored
    where
        stored.origin = $1
        and not exists (select from given where given.site = stored.site and given.name = stored.name)
)

insert into forecasting.regressors as stored (origin, site, name, first_day, numbers)
select $1, given.site, given.name, given.first_day, given.numbers
from given
on conflict (origin, site, name) do update
set first_day = excluded.first_day, numbers = excluded.numbers
where (stored.first_day, stored.numbers) is distinct from (excluded.first_day, excluded.numbers);
