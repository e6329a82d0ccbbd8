-- Those of the weeks in `touched`, which are counted again.
delete from forecasting.outcomes as outcome
using touched
where outcome.site = touched.site and outcome.metric = touched.metric and outcome.week >= touched.first_day;
