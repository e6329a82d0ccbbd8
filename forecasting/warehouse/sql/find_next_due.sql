-- How long from now the next attempt at an address is, in seconds; NULL: nothing waits there.
-- $1 text  address
select
    extract(epoch from min(due_at) - clock_timestamp())::double precision as seconds,
    count(*) as num_waiting
from forecasting.deliveries
where address = $1::text and status = 'waiting';
