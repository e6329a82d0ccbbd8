-- Notes that a run, or a step of it, begins. The runs before it that have not ended were cut off: only one runs at a time.
-- $1 text         id of the run
-- $2 text         kind
-- $3 text         step; empty: the run as a whole
-- $4 timestamptz  the scheduled time that it is for
-- $5 text         the host and the process
with cut_off as (
    update forecasting.runs
    set outcome = 'interrupted', ended_at = clock_timestamp()
    where runs.kind = $2::text and runs.outcome = 'running' and runs.id <> $1::text
)

insert into forecasting.runs (id, kind, step, due_at, began_at, outcome, holder)
values ($1::text, $2::text, $3::text, $4::timestamptz, clock_timestamp(), 'running', $5::text);
