-- How many messages wait for an address, and how long from now the next attempt is, in seconds.
-- $1 text              address
-- $2 double precision  seconds after which an attempt that nobody has locked was cut off
select
    extract(
        epoch from min(greatest(due_at, began_at + make_interval(secs => $2::double precision))) - clock_timestamp()
    )::double precision as seconds,
    count(*) as num_waiting
from forecasting.deliveries
where address = $1::text and status = 'waiting';
