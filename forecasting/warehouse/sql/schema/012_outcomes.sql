-- What became of forecasts, by week of the forecast days: sums, so that weeks, days ahead and series can be pooled. Only
-- days that are known, that no verdict masks, and for which there is a seasonal naive forecast. Kept when the forecasts
-- themselves are pruned.
create table if not exists forecasting.outcomes (
    site text,
    metric text,
    version text,
    days_ahead smallint,
    week date, -- its Monday
    num_days integer not null,
    absolute_error double precision not null, -- of the medians, in the source's units
    naive_error double precision not null, -- of the seasonal naive forecasts from the same cutoffs
    pinball double precision not null, -- the mean loss over the levels
    inside_80 integer not null, -- days inside the band
    inside_90 integer not null,
    primary key (site, metric, version, days_ahead, week)
);

-- Which forecasts are newer than the last count of outcomes is looked up every day. Rows come in the order of time.
create index if not exists forecasts_made_at on forecasting.forecasts using brin (made_at);

create or replace view forecasting.realised as
select outcome.site, outcome.metric, outcome.version, outcome.days_ahead, outcome.week, outcome.num_days,
    outcome.absolute_error / outcome.num_days as error,
    outcome.naive_error / outcome.num_days as naive_error,
    outcome.absolute_error / nullif(outcome.naive_error, 0) as relative_error,
    outcome.pinball / outcome.num_days as pinball,
    outcome.inside_80::double precision / outcome.num_days as coverage_80,
    outcome.inside_90::double precision / outcome.num_days as coverage_90
from forecasting.outcomes as outcome;

-- The newest forecast of each series, whichever version made it, except of sites that are gone: one row a day ahead.
create or replace view forecasting.latest as
select distinct on (forecast.site, forecast.metric, forecast.day)
    forecast.site, forecast.metric, forecast.day, forecast.version, forecast.cutoff, forecast.made_at,
    forecast.quantiles
from forecasting.forecasts as forecast
inner join (
    select newest.site, newest.metric, max(newest.cutoff) as cutoff
    from forecasting.forecasts as newest
    group by newest.site, newest.metric
) as last_known using (site, metric, cutoff)
where not exists (
    select from forecasting.sites where sites.site = forecast.site and sites.gone_at is not null
)
order by forecast.site, forecast.metric, forecast.day, forecast.made_at desc;

-- What ran without a request, such as the daily job: a row for the run as a whole, whose step is empty, and one for each
-- of its steps.
create table if not exists forecasting.runs (
    id text,
    kind text not null, -- daily
    step text,
    due_at timestamp with time zone not null, -- the scheduled time that the run is for
    began_at timestamp with time zone not null,
    ended_at timestamp with time zone,
    outcome text not null, -- running, succeeded, failed or interrupted
    reason text not null default '', -- what was done, or why it failed
    holder text not null, -- the host and the process
    primary key (id, step)
);
create index if not exists runs_began_at on forecasting.runs (kind, step, began_at);

update forecasting.schema_version set number = 12 where number < 12;
