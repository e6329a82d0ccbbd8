-- Until the transaction ends, read by the primary key's index and not the whole table, whatever the statistics say: a
-- newly filled table has none. The first series then arrive at once, and the rest one after another.
select
    set_config('enable_seqscan', 'off', true),
    set_config('enable_bitmapscan', 'off', true),
    set_config('enable_sort', 'off', true),
    set_config('enable_hashagg', 'off', true),
    set_config('max_parallel_workers_per_gather', '0', true),
    set_config('jit', 'off', true);
