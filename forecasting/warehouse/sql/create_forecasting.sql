-- Our own schema, beside the sources, which are only read. Run by whoever needs it first, and again: no row is changed.
create schema if not exists forecasting;

-- Daily values as their source said them, in its units: panels are made from here.
create table if not exists forecasting.daily (
    site text,
    metric text,
    day date,
    value double precision, -- NULL: the source has the day, but no value
    verdict text not null default 'observed', -- or unmeasured, outage, partial, bot, definition_break
    read_at timestamp with time zone not null default now(), -- when the source last said something else than before
    primary key (site, metric, day)
);

-- The bit h: something happened in the local hour h. NULL: the source does not say.
alter table forecasting.daily add column if not exists hours integer;

-- The sites that a source has, and how far it has been read.
create table if not exists forecasting.sites (
    site text primary key,
    source text not null,
    key text not null, -- the site's own in the source
    timezone text not null, -- of its days
    began date, -- the source says nothing of days before it
    first_day date, -- the oldest that the source held when it was last asked
    read_until date, -- days before it have been read; NULL: none
    rules text not null default '', -- by which the days were judged
    unique (source, key)
);

-- What a source's metrics are.
create table if not exists forecasting.metrics (
    source text,
    metric text,
    kind text not null, -- count, rate or other
    additive boolean not null, -- whether days add up to a week
    unit text, -- of a rate: fraction or percent
    place integer not null, -- in the source's own order
    primary key (source, metric)
);

-- What a source knows of days: what people noted, and from when on a metric is measured otherwise.
create table if not exists forecasting.events (
    source text not null,
    site text, -- NULL: all
    metric text, -- NULL: all
    day date not null,
    note text not null,
    is_break boolean not null
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

-- Counts what changed forecasting.daily, so that whoever keeps what he made of it need only ask for one number.
create table if not exists forecasting.revision (
    is_only boolean primary key default true check (is_only),
    number bigint not null default 0
);
insert into forecasting.revision default values on conflict do nothing;

-- A statement that changed no row does not count.
create or replace function forecasting.count_revision() returns trigger language plpgsql as $$
begin
    if tg_op <> 'TRUNCATE' then -- which has no rows to look at
        if not exists (select from changed) then
            return null;
        end if;
    end if;
    update forecasting.revision set number = number + 1;
    return null;
end
$$;

-- A view or a foreign table of somebody's own cannot tell, nor can a partitioned table, whose partitions may be written
-- to, attached and detached behind its back: nothing is kept of them.
do $$
begin
    if (select relkind from pg_catalog.pg_class where oid = 'forecasting.daily'::regclass) = 'r' then
        drop trigger if exists count_inserted on forecasting.daily;
        create trigger count_inserted after insert on forecasting.daily
        referencing new table as changed for each statement execute function forecasting.count_revision();
        drop trigger if exists count_updated on forecasting.daily;
        create trigger count_updated after update on forecasting.daily
        referencing new table as changed for each statement execute function forecasting.count_revision();
        drop trigger if exists count_deleted on forecasting.daily;
        create trigger count_deleted after delete on forecasting.daily
        referencing old table as changed for each statement execute function forecasting.count_revision();
        drop trigger if exists count_truncated on forecasting.daily;
        create trigger count_truncated after truncate on forecasting.daily
        for each statement execute function forecasting.count_revision();
    end if;
end
$$;
