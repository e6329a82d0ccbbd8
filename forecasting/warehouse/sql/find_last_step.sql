-- When the last run of a step that succeeded began; NULL: it never has.
-- $1 text  kind
-- $2 text  step
select max(runs.began_at) as began_at
from forecasting.runs
where runs.kind = $1::text and runs.step = $2::text and runs.outcome = 'succeeded';
