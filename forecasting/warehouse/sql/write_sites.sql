-- Stores a source's sites, and keeps how far each has been read.
-- $1 text     source
-- $2 jsonb    an object per site
-- $3 boolean  whether all days are to be read again
insert into forecasting.sites as stored (site, source, key, timezone, began, first_day)
select listed.site, $1::text, listed.key, listed.timezone, listed.began, listed.first_day
from jsonb_to_recordset($2::jsonb) as listed (site text, key text, timezone text, began date, first_day date)
on conflict (site) do update
    set
        first_day = excluded.first_day,
        read_until = case when not $3::boolean then stored.read_until end;
