-- Until the transaction ends: the primary key's index rather than the whole table, whatever the statistics say, which a
-- table that was just filled has none of. One row for each series is thousands of short scans, which start at once.
select
    set_config('enable_seqscan', 'off', true),
    set_config('enable_bitmapscan', 'off', true),
    set_config('enable_sort', 'off', true),
    set_config('max_parallel_workers_per_gather', '0', true),
    set_config('jit', 'off', true);
