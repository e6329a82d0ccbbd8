-- Sites that have another name in the source keep their days, their forecasts and what became of these, and their unusual
-- days.
-- $1 text[]   sites
-- $2 text[]   their new names, which no other stored site has
with renamed as (
    select old.site, old.name
    from unnest($1::text[], $2::text[]) as old (site, name)
),

moved_days as (
    update forecasting.daily as d
    set site = renamed.name
    from renamed
    where d.site = renamed.site
),

moved_anomalies as (
    update forecasting.anomalies as anomaly
    set site = renamed.name
    from renamed
    where anomaly.site = renamed.site
),

moved_judgements as (
    update forecasting.judged
    set site = renamed.name
    from renamed
    where judged.site = renamed.site
),

moved_outcomes as (
    update forecasting.outcomes as outcome
    set site = renamed.name
    from renamed
    where outcome.site = renamed.site
),

moved_forecasts as (
    update forecasting.forecasts as forecast
    set site = renamed.name
    from renamed
    where forecast.site = renamed.site
)

update forecasting.sites
set site = renamed.name
from renamed
where sites.site = renamed.site;
