-- Whether daily_metrics has any row.
select exists (select from daily_metrics) as has_rows;
