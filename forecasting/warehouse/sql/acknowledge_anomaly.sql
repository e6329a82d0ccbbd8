-- Notes who has seen an unusual day: the first to do so, and all metrics of the site that day on the same side.
-- $1 bigint  id
-- $2 text    who
-- $3 text    note; NULL: none
update forecasting.anomalies as anomaly
set
    acknowledged_at = coalesce(anomaly.acknowledged_at, now()),
    acknowledged_by = coalesce(anomaly.acknowledged_by, $2::text),
    note = coalesce($3::text, anomaly.note)
from forecasting.anomalies as seen
where
    seen.id = $1::bigint
    and anomaly.site = seen.site
    and anomaly.day = seen.day
    and anomaly.direction = seen.direction
returning anomaly.id, anomaly.acknowledged_at, anomaly.acknowledged_by, anomaly.note;
