-- Locks a delivery that was claimed, for as long as the transaction takes; no row if somebody else has it.
-- $1 bigint   message
-- $2 text     address
-- $3 integer  the attempt that was claimed
select true as is_ours
from forecasting.deliveries
where message_id = $1::bigint and address = $2::text and num_attempts = $3::integer and status = 'waiting'
for update skip locked;
