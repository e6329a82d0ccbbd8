-- Our own schema, beside the sources, which are only read. Run by whoever needs it first; changes nothing that is there.
create schema if not exists forecasting;

-- Daily values as their source said them, in its units: panels are made from here.
create table if not exists forecasting.daily (
    site text,
    metric text,
    day date,
    value double precision, -- NULL: the source has the day, but no value
    verdict text not null default 'observed', -- or unmeasured
    read_at timestamp with time zone not null default now(), -- when the source last said something else than before
    primary key (site, metric, day)
);

-- Forecasts, a row each day ahead. The same version, series and cutoff are written once: again is the same rows.
create table if not exists forecasting.forecasts (
    site text,
    metric text,
    cutoff date, -- the last day that the forecast knows
    day date,
    version text, -- of the model; base: the pretrained one
    made_at timestamp with time zone not null,
    quantiles real[] not null, -- at .05 .1 .25 .5 .75 .9 .95, in the source's units
    primary key (site, metric, version, cutoff, day)
);
