-- Until the transaction ends, statements are planned for their actual values. With a site given, the index then finds
-- the rows at once, where a generic plan would read the whole table.
select set_config('plan_cache_mode', 'force_custom_plan', true);
