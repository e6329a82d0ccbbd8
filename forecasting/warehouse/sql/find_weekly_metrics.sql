-- The metrics that a summary of a week may be about: those whose days add up first, then in the source's order.
-- $1 text    source
-- $2 text[]  metrics to choose from; empty: all
select
    judged.metric,
    min(metrics.kind) as kind, -- NULL: the source does not say
    coalesce(bool_or(metrics.additive), true) as is_additive,
    max(judged.until) as newest
from forecasting.judged
left join forecasting.metrics on metrics.source = $1::text and metrics.metric = judged.metric
where
    (cardinality($2::text[]) = 0 or judged.metric = any($2::text[]))
    and metrics.gone_at is null
group by judged.metric
order by coalesce(bool_or(metrics.additive), true) desc, min(metrics.place) nulls last, count(*) desc, judged.metric;
