-- Deletes the days of sites that may be forgotten, or whose days are to be read again.
-- $1 text[]   sites
with blocks_of_days as (
    delete from forecasting.blocks
    using forecasting.sites
    where sites.site = any($1::text[]) and blocks.source = sites.source and blocks.key = sites.key
)

delete from forecasting.daily where daily.site = any($1::text[]);
