-- Which message tells of these unusual days.
-- $1 bigint[]  ids of unusual days
-- $2 bigint    id of the message
update forecasting.anomalies set message_id = $2::bigint where id = any($1::bigint[]);
