-- The newest forecast of the only site of a source, one row a day ahead. No row if there are several sites.
-- $1 text  source
select latest.metric, latest.day, latest.version, latest.quantiles[4] as value,
    latest.quantiles[2] as lower, latest.quantiles[6] as upper
from forecasting.latest
where
    latest.site in (select sites.site from forecasting.sites where sites.source = $1::text and sites.gone_at is null)
    and (select count(*) from forecasting.sites where sites.source = $1::text and sites.gone_at is null) = 1
order by latest.metric, latest.day;
