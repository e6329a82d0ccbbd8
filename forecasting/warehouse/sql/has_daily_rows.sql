-- Whether forecasting.daily has anything in it.
select exists (select from forecasting.daily) as has_rows;
