-- Deletes sites of another source and their days: a site of this source has their name.
-- $1 text[]   sites
with deleted_blocks as (
    delete from forecasting.blocks
    using forecasting.sites
    where sites.site = any($1::text[]) and blocks.source = sites.source and blocks.key = sites.key
),

deleted_anomalies as (
    delete from forecasting.anomalies
    where anomalies.site = any($1::text[])
),

deleted_judgements as (
    delete from forecasting.judged
    where judged.site = any($1::text[])
),

deleted as (
    delete from forecasting.sites
    where sites.site = any($1::text[])
)

delete from forecasting.daily where daily.site = any($1::text[]);
