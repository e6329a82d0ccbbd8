-- With an index every plan finds the new rows by their keys. Without it PostgreSQL often estimates that one row of
-- forecasting.daily is to be compared with them where there are a hundred thousand.
create index on pg_temp.incoming (key, metric, day);
analyze pg_temp.incoming;
