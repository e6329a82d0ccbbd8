-- Unusual days that are to be told and of which no message tells yet, with what else was unusual on the same day.
select
    anomaly.id,
    anomaly.site,
    anomaly.metric,
    anomaly.day,
    anomaly.kind,
    anomaly.value,
    anomaly.expected,
    anomaly.score,
    anomaly.direction,
    anomaly.cause,
    anomaly.text,
    coalesce(d.verdict, '') as verdict,
    d.hours,
    array(
        select before.hours
        from forecasting.daily as before
        where
            before.site = anomaly.site
            and before.metric = anomaly.metric
            and before.day >= anomaly.day - 28
            and before.day < anomaly.day
            and before.hours is not null
    ) as hours_before,
    array(
        select other.metric
        from forecasting.anomalies as other
        where
            other.site = anomaly.site
            and other.day = anomaly.day
            and other.metric <> anomaly.metric
            and other.direction = anomaly.direction
            and other.withdrawn_at is null
        order by other.metric
    ) as also,
    (
        select count(*)
        from forecasting.daily as other
        where other.site = anomaly.site and other.day = anomaly.day and other.value <> 'NaN'
    ) as num_metrics,
    (
        select count(distinct other.site)
        from forecasting.anomalies as other
        where
            other.day = anomaly.day
            and other.site <> anomaly.site
            and other.direction = anomaly.direction
            and other.withdrawn_at is null
    ) as num_other_sites
from forecasting.anomalies as anomaly
left join forecasting.daily as d on d.site = anomaly.site and d.metric = anomaly.metric and d.day = anomaly.day
where anomaly.told_at is not null and anomaly.message_id is null and anomaly.withdrawn_at is null
order by anomaly.site, anomaly.direction, anomaly.day desc, abs(anomaly.score) desc;
