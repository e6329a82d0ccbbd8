-- Deletes sites and their days: they are gone from the source, or are other sites now.
-- $1 text[]   sites
with deleted as (
    delete from forecasting.sites
    where sites.site = any($1::text[])
)

delete from forecasting.daily where daily.site = any($1::text[]);
