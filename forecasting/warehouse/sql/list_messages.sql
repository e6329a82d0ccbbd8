-- Messages and their deliveries, newest first.
-- $1 date     since when
-- $2 integer  how many at most
select
    message.id,
    message.kind,
    message.day,
    message.title,
    message.written_at,
    message.addressed_at,
    delivery.address,
    delivery.status,
    delivery.num_attempts,
    delivery.due_at,
    delivery.ended_at,
    delivery.answer,
    delivery.is_unsure
from forecasting.messages as message
left join forecasting.deliveries as delivery on delivery.message_id = message.id
where message.written_at >= $1::date
order by message.id desc, delivery.address
limit $2::integer;
