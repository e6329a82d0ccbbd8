-- Decides who gets which messages.
-- $1 bigint[]  the messages that are decided
-- $2 bigint[]  messages and
-- $3 text[]    addresses, in pairs
with addressed as (
    update forecasting.messages set addressed_at = now() where id = any($1::bigint[])
)

insert into forecasting.deliveries (message_id, address, due_at)
select pair.message_id, pair.address, now() as due_at
from unnest($2::bigint[], $3::text[]) as pair (message_id, address)
on conflict do nothing;
