-- Deletes the days of sites that are gone from the source, or whose days are to be read again.
-- $1 text[]   sites
delete from forecasting.daily where daily.site = any($1::text[]);
