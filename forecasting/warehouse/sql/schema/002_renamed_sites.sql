-- Sites keep their identity when they are renamed or deleted in the source: it is their key there, not their name.
alter table forecasting.sites add column if not exists aliases text[] not null default '{}'; -- earlier names
alter table forecasting.sites add column if not exists gone_at timestamp with time zone; -- NULL: the source has the site

-- Earlier versions forgot sites that were gone, but not their forecasts. As sites that are gone they keep their names
-- from being taken by others.
insert into forecasting.sites (site, source, key, timezone, gone_at)
select distinct forecast.site, 'unknown' as source, forecast.site as key, 'UTC' as timezone, now() as gone_at
from forecasting.forecasts as forecast
where not exists (select from forecasting.daily as d where d.site = forecast.site)
on conflict do nothing;

-- The newest forecast of each series by each version, except of sites that are gone.
create or replace view forecasting.latest as
select forecast.site, forecast.metric, forecast.day, forecast.version, forecast.cutoff, forecast.made_at,
    forecast.quantiles
from forecasting.forecasts as forecast
where
    forecast.cutoff = (
        select max(newer.cutoff)
        from forecasting.forecasts as newer
        where
            newer.site = forecast.site
            and newer.metric = forecast.metric
            and newer.version = forecast.version
    )
    and not exists (
        select from forecasting.sites where sites.site = forecast.site and sites.gone_at is not null
    );

update forecasting.schema_version set number = 2 where number < 2;
