-- Until the transaction ends: the primary key's index rather than the whole table, whatever the statistics say, which a
-- table that was just filled has none of: so the first series come at once, and one after another.
select
    set_config('enable_seqscan', 'off', true),
    set_config('enable_bitmapscan', 'off', true),
    set_config('enable_sort', 'off', true),
    set_config('enable_hashagg', 'off', true),
    set_config('max_parallel_workers_per_gather', '0', true),
    set_config('jit', 'off', true);
