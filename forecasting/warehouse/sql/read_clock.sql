-- The time at which this transaction began.
select now() as now;
