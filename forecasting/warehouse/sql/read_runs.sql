-- The last run of a kind and the last that succeeded, each with its steps, newest first.
-- $1 text  kind
select
    runs.id,
    runs.step,
    runs.due_at,
    runs.began_at,
    runs.ended_at,
    runs.outcome,
    runs.reason,
    runs.holder
from forecasting.runs
where
    runs.kind = $1::text
    and runs.id in (
        (
            select newest.id from forecasting.runs as newest
            where newest.kind = $1::text and newest.step = ''
            order by newest.began_at desc
            limit 1
        )
        union all
        (
            select newest.id from forecasting.runs as newest
            where newest.kind = $1::text and newest.step = '' and newest.outcome = 'succeeded'
            order by newest.began_at desc
            limit 1
        )
    )
order by runs.began_at desc, runs.step desc;
