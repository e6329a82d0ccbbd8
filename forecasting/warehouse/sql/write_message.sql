-- Writes a message, unless its cause was told on the same day; its id either way.
-- $1 text    kind
-- $2 text    cause
-- $3 date    day
-- $4 text[]  sites and
-- $5 text[]  metrics that it is about
-- $6 text    direction; NULL: none
-- $7 text    severity
-- $8 text    title
-- $9 text    body
with written as (
    insert into forecasting.messages (kind, cause, day, sites, metrics, direction, severity, title, body)
    values ($1::text, $2::text, $3::date, $4::text[], $5::text[], $6::text, $7::text, $8::text, $9::text)
    on conflict (cause, day) do nothing
    returning id, true as is_new
)

select id, is_new from written
union all
select id, false as is_new from forecasting.messages where cause = $2::text and day = $3::date
limit 1;
