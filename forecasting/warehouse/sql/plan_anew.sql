-- Until the transaction ends, statements are planned for their values: of a named site the index finds the rows at once,
-- where a plan for any values would read the whole table.
select set_config('plan_cache_mode', 'force_custom_plan', true);
