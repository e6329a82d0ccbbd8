-- So that whatever plan is made for what has arrived, rows are found by their keys: how many of forecasting.daily are to
-- be compared with them is often estimated as one, and is a hundred thousand.
create index on pg_temp.incoming (key, metric, day);
analyze pg_temp.incoming;
