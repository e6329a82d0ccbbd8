-- Deliveries that are no news any more, such as those to an address that is no longer configured.
-- $1 integer  days after which they are not
update forecasting.deliveries
set status = 'failed', ended_at = now(), answer = case answer when '' then 'it was never tried' else answer end
where
    status = 'waiting'
    and (message_id, address) in (
        select waiting.message_id, waiting.address
        from forecasting.deliveries as waiting
        inner join forecasting.messages on messages.id = waiting.message_id
        where waiting.status = 'waiting' and messages.written_at < now() - make_interval(days => $1::integer)
        for update of waiting skip locked
    )
returning message_id, address;
