-- The number of rows of daily_metrics without a day.
select count(*) as num_rows
from daily_metrics as m
where m.date is null;
