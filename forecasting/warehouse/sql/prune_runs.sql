-- Deletes what is known of runs that began before a time, except the last ones that succeeded.
-- $1 timestamptz  the time
delete from forecasting.runs
where
    runs.began_at < $1::timestamptz
    and runs.id not in (
        select distinct on (kept.kind) kept.id from forecasting.runs as kept
        where kept.step = '' and kept.outcome = 'succeeded'
        order by kept.kind, kept.began_at desc
    );
