-- Which of the names have days or forecasts that belong to no stored site: somebody else writes them.
-- $1 text[]   names
select wanted.name
from unnest($1::text[]) as wanted (name)
where
    not exists (select from forecasting.sites where sites.site = wanted.name)
    and (
        exists (select from forecasting.daily as d where d.site = wanted.name)
        or exists (select from forecasting.forecasts as forecast where forecast.site = wanted.name)
    );
