-- The days of the user's own query, which goes in front: `with given as (...)`. The one column holds rows (key, metric,
-- day, value, hours) in PostgreSQL's binary COPY format. They are fetched, not copied: COPY takes no parameters, and
-- writing values into the user's text could change it.
-- To try it in psql, create a view `given` and replace the final semicolon by \bind 2024-01-01 2024-02-01 '{shop}' \g
-- $1 date     first day
-- $2 date     the day after the last day
-- $3 text[]   sites
select
    int2send(5::smallint)
    || int4send(octet_length(textsend(given.site::text))) || textsend(given.site::text)
    || int4send(octet_length(textsend(given.metric::text))) || textsend(given.metric::text)
    || int4send(4) || date_send(given.day)
    || coalesce(int4send(8) || float8send(given.value::double precision), int4send(-1))
    || int4send(-1) as fields
from given
where
    given.site::text = any($3::text[])
    and given.metric is not null
    and given.day >= $1::date
    and given.day < $2::date;
