-- How late new days usually come: a week after the last ones, from a source that is loaded once a week.
alter table forecasting.sites add column if not exists last_day date; -- the newest complete day that the source had
alter table forecasting.sites add column if not exists arrivals integer[] not null default '{}'; -- age of the newest
-- day, in days, on the day before newer ones came; the latest first

update forecasting.schema_version set number = 6 where number < 6;
