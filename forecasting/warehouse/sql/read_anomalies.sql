-- Unusual days, newest first, with what else was unusual on the same day.
-- $1 text[]   sites; empty: all
-- $2 text     metric; NULL: all
-- $3 date     first and
-- $4 date     last day
-- $5 double precision  the least score, whatever its sign
-- $6 integer  how many at most
select
    anomaly.id,
    anomaly.site,
    anomaly.metric,
    anomaly.day,
    anomaly.kind,
    anomaly.value,
    anomaly.expected,
    anomaly.lower,
    anomaly.upper,
    anomaly.score,
    anomaly.direction,
    anomaly.sensitivity,
    anomaly.first_day,
    anomaly.is_new_level,
    anomaly.cause,
    anomaly.text,
    anomaly.version,
    anomaly.judged_at,
    anomaly.told_at,
    anomaly.value_before,
    anomaly.withdrawn_at,
    anomaly.acknowledged_at,
    anomaly.acknowledged_by,
    anomaly.note,
    coalesce(d.verdict, '') as verdict,
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
where
    (cardinality($1::text[]) = 0 or anomaly.site = any($1::text[]))
    and ($2::text is null or anomaly.metric = $2::text)
    and anomaly.day >= $3::date
    and anomaly.day <= $4::date
    and abs(anomaly.score) > $5::double precision
order by anomaly.day desc, anomaly.site, anomaly.metric
limit $6::integer;
