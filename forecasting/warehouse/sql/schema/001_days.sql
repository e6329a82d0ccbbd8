-- Our own schema. The sources' tables are only read. Each file in this folder takes the schema from one version to the
-- next: the first program that needs a newer version runs the missing ones in the order of their names. Versions of
-- this program up to 0.1.0 did not number the schema, so this file takes whatever they left to version 1. Running a
-- file again changes no row.
create schema if not exists forecasting;

-- The version of this schema: the number of the last file that was run.
create table if not exists forecasting.schema_version (
    is_only boolean primary key default true check (is_only),
    number integer not null
);
insert into forecasting.schema_version (number) values (1) on conflict do nothing;

-- Daily values as the source has them, in its units. Panels are built from this table.
create table if not exists forecasting.daily (
    site text,
    metric text,
    day date,
    value double precision, -- NULL: the source has the day, but no value
    verdict text not null default 'observed', -- or unmeasured, outage, partial, bot, definition_break
    read_at timestamp with time zone not null default now(), -- when this value was first read, or last changed
    primary key (site, metric, day)
);

-- Bit h is set if there was traffic in the local hour h. NULL: the source has no hours.
alter table forecasting.daily add column if not exists hours integer;

-- The sites of each source, and how far they have been read.
create table if not exists forecasting.sites (
    site text primary key,
    source text not null,
    key text not null, -- the site's key in the source
    timezone text not null, -- of its days
    began date, -- the source's data begin on this day, such as after a reset
    first_day date, -- the oldest day that the source had when last asked
    read_until date, -- earlier days have been read; NULL: none
    rules text not null default '', -- fingerprint of the rules by which the days were judged
    unique (source, key)
);

-- The metrics of each source.
create table if not exists forecasting.metrics (
    source text,
    metric text,
    kind text not null, -- count, rate or other
    additive boolean not null, -- whether the values of seven days add up to the value of the week
    unit text, -- of a rate: fraction or percent
    place integer not null, -- in the source's order
    primary key (source, metric)
);

-- What a source knows about days: people's notes, and the days on which a metric's definition changed.
create table if not exists forecasting.events (
    source text not null,
    site text, -- NULL: all
    metric text, -- NULL: all
    day date not null,
    note text not null,
    is_break boolean not null
);

-- Forecasts, one row per day ahead. Forecasting again with the same version and cutoff replaces the same rows.
create table if not exists forecasting.forecasts (
    site text,
    metric text,
    cutoff date, -- the last day known to the forecast
    day date,
    version text, -- of the model; base: the pretrained weights
    made_at timestamp with time zone not null,
    quantiles real[] not null, -- at .05 .1 .25 .5 .75 .9 .95, in the source's units
    primary key (site, metric, version, cutoff, day)
);

-- Counts the changes to forecasting.daily, so that a cache needs to check only one number.
create table if not exists forecasting.revision (
    is_only boolean primary key default true check (is_only),
    number bigint not null default 0
);
insert into forecasting.revision default values on conflict do nothing;

-- A statement that changes no row does not count.
create or replace function forecasting.count_revision() returns trigger language plpgsql as $$
begin
    if tg_op <> 'TRUNCATE' then -- which has no transition table
        if not exists (select from changed) then
            return null;
        end if;
    end if;
    update forecasting.revision set number = number + 1;
    return null;
end
$$;

-- Only a plain table can count its changes: triggers miss what happens behind a view or a foreign table, and the
-- partitions of a partitioned table may be changed directly. Nothing read from those is cached.
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
