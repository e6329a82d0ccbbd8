-- What has happened since to unusual days of which a message told: the level stayed where it was, or a correction made
-- the day as expected.
-- $1 date   the oldest day that is still news
select
    anomaly.site,
    anomaly.metric,
    anomaly.day,
    anomaly.kind,
    anomaly.value,
    anomaly.value_before,
    anomaly.expected,
    anomaly.score,
    anomaly.direction,
    anomaly.text,
    anomaly.withdrawn_at is not null as is_withdrawn
from forecasting.anomalies as anomaly
where
    anomaly.message_id > 0
    and anomaly.day >= $1::date
    and (anomaly.withdrawn_at is not null or anomaly.is_new_level)
order by anomaly.site, anomaly.direction, anomaly.day desc, abs(anomaly.score) desc;
