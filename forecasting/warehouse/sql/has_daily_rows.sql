-- Whether forecasting.daily has any row.
select exists (select from forecasting.daily) as has_rows;
