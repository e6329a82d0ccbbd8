-- Days of the user's own query: one column, each a row (key, metric, day, value, hours) in PostgreSQL's binary COPY
-- format. It is fetched, not copied: COPY takes no values, and writing them into somebody's text could change it.
-- `with given as (the user's query)` goes in front; in psql, make a view `given` of it and try
-- \bind 2024-01-01 2024-02-01 '{shop}' \g behind this, instead of the semicolon.
-- $1 date     from this day
-- $2 date     to before this one
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
