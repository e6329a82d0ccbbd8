-- Notes that something is over; no row if it was not known, or is known to be over.
-- $1 text  cause
update forecasting.conditions set ended_at = now()
where cause = $1::text and ended_at is null
returning began_at;
