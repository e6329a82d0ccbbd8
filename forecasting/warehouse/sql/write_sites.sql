-- The sites of a source as it has them now, how far each was read as before.
-- $1 text     source
-- $2 jsonb    an object each
-- $3 boolean  whether everything is to be read again
insert into forecasting.sites as stored (site, source, key, timezone, began, first_day)
select listed.site, $1::text, listed.key, listed.timezone, listed.began, listed.first_day
from jsonb_to_recordset($2::jsonb) as listed (site text, key text, timezone text, began date, first_day date)
on conflict (site) do update
    set
        first_day = excluded.first_day,
        read_until = case when not $3::boolean then stored.read_until end;
