-- Which metric a summary of a week is about: the source's first count whose days add up, else the most frequent one; and
-- whether it adds up. No row: nothing was judged yet.
-- $1 text    source
-- $2 text[]  metrics to choose from; empty: all
select
    judged.metric,
    coalesce(bool_or(metrics.additive), true) as is_additive,
    max(judged.until) as newest
from forecasting.judged
left join forecasting.metrics on metrics.source = $1::text and metrics.metric = judged.metric
where
    (cardinality($2::text[]) = 0 or judged.metric = any($2::text[]))
    and coalesce(metrics.kind, 'count') = 'count'
    and metrics.gone_at is null
group by judged.metric
order by coalesce(bool_or(metrics.additive), true) desc, min(metrics.place) nulls last, count(*) desc, judged.metric
limit 1;
