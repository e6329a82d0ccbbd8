-- Notes that something is wrong; no row if that is known.
-- $1 text  cause
insert into forecasting.conditions as condition (cause)
values ($1::text)
on conflict (cause) do update set began_at = now(), ended_at = null where condition.ended_at is not null
returning condition.cause;
