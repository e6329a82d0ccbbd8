-- Begins an attempt to deliver the next message that is due at an address. One that was begun and that nobody has locked
-- was cut off, and may have arrived; a moment passes between this statement and the lock.
-- $1 text              address
-- $2 double precision  seconds that this moment lasts at most
with next as (
    select waiting.message_id
    from forecasting.deliveries as waiting
    where
        waiting.address = $1::text
        and waiting.status = 'waiting'
        and waiting.due_at <= clock_timestamp()
        and (waiting.began_at is null or waiting.began_at < clock_timestamp() - make_interval(secs => $2::double precision))
    order by waiting.due_at, waiting.message_id
    limit 1
    for update skip locked
)

update forecasting.deliveries as delivery
set
    num_attempts = delivery.num_attempts + 1,
    is_unsure = delivery.is_unsure or delivery.began_at is not null,
    began_at = clock_timestamp()
from next, forecasting.messages as message
where delivery.message_id = next.message_id and delivery.address = $1::text and message.id = next.message_id
returning
    delivery.message_id, delivery.num_attempts, delivery.is_unsure, message.kind, message.cause, message.day, message.sites,
    message.metrics, message.direction, message.severity, message.title, message.body, message.written_at,
    (select database_id from forecasting.revision) as database_id;
