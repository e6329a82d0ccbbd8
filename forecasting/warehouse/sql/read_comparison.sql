-- A table of a source as it was when its days were last compared.
-- $1 text     source
-- $2 text     scope
select
    comparison.identity,
    comparison.num_inserted,
    comparison.num_updated,
    comparison.num_deleted,
    comparison.recent_from,
    comparison.num_recent,
    comparison.num_newest,
    comparison.compared_at
from forecasting.comparisons as comparison
where comparison.source = $1::text and comparison.scope = $2::text;
