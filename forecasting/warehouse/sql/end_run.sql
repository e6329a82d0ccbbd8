-- Notes how a run, or a step of it, ended.
-- $1 text  id of the run
-- $2 text  step; empty: the run as a whole
-- $3 text  outcome
-- $4 text  what was done, or why it failed
update forecasting.runs
set ended_at = clock_timestamp(), outcome = $3::text, reason = $4::text
where runs.id = $1::text and runs.step = $2::text
returning extract(epoch from runs.ended_at - runs.began_at)::double precision as seconds;
