-- Messages of which it is not decided yet who gets them, if they are still news. Locked until that is decided.
-- $1 integer  days after which they are not
select id, kind, cause, day, sites, metrics, direction, severity, title, body
from forecasting.messages
where addressed_at is null and written_at > now() - make_interval(days => $1::integer)
order by id
for update skip locked;
