-- What came of an attempt.
-- $1 bigint            message
-- $2 text              address
-- $3 text              sent, failed, or waiting for another attempt
-- $4 double precision  seconds until then
-- $5 text              why it failed; empty: it did not
-- $6 boolean           whether it may have arrived all the same
update forecasting.deliveries
set
    status = $3::text,
    due_at = clock_timestamp() + make_interval(secs => $4::double precision),
    began_at = null,
    ended_at = clock_timestamp(),
    answer = $5::text,
    is_unsure = is_unsure or $6::boolean
where message_id = $1::bigint and address = $2::text;
