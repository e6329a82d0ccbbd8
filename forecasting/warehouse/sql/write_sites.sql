-- Stores a source's sites, and keeps how far each has been read, unless its days are others now.
-- $1 text     source
-- $2 jsonb    an object per site
-- $3 boolean  whether all days are to be read again
insert into forecasting.sites as stored (site, source, key, timezone, began, first_day)
select listed.site, $1::text, listed.key, listed.timezone, listed.began, listed.first_day
from jsonb_to_recordset($2::jsonb) as listed (site text, key text, timezone text, began date, first_day date)
on conflict (source, key) do update
    set
        timezone = excluded.timezone,
        began = excluded.began,
        first_day = excluded.first_day,
        gone_at = null,
        read_until = case
            when
                not $3::boolean
                and stored.gone_at is null
                and (stored.timezone, stored.began) is not distinct from (excluded.timezone, excluded.began)
                then stored.read_until
        end,
        rules = case
            when (stored.timezone, stored.began) is not distinct from (excluded.timezone, excluded.began)
                then stored.rules
            else ''
        end
    where
        (stored.timezone, stored.began, stored.first_day)
        is distinct from (excluded.timezone, excluded.began, excluded.first_day)
        or stored.gone_at is not null
        or $3::boolean;
