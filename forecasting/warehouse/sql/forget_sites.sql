-- Forgets sites with their days: gone from the source, or other ones by now.
-- $1 text[]   sites
with forgotten as (
    delete from forecasting.sites
    where sites.site = any($1::text[])
)

delete from forecasting.daily where daily.site = any($1::text[]);
