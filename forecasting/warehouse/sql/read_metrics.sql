-- A source's metrics, in its order.
-- $1 text     source
select metrics.metric, metrics.kind, metrics.additive, metrics.unit
from forecasting.metrics
where metrics.source = $1::text
order by metrics.place;
