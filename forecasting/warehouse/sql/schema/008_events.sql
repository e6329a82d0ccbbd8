-- The user's own events, such as sales, beside what the source knows about days.
do $$
begin
    if exists (
        select from information_schema.columns
        where table_schema = 'forecasting' and table_name = 'events' and column_name = 'day'
    ) then
        alter table forecasting.events rename column day to first_day;
    end if;
end
$$;
alter table forecasting.events add column if not exists last_day date check (last_day >= first_day); -- NULL: first_day
-- Events of the same name are of the same kind. NULL: the note is the name.
alter table forecasting.events add column if not exists name text check (name <> '');
-- How many times the usual count is expected; NULL: not known.
alter table forecasting.events add column if not exists size double precision check (size between 0.01 and 100);
alter table forecasting.events add column if not exists id bigint generated always as identity;
-- user: inserted by hand; file: copied from data.events by each update; else the name of the source
alter table forecasting.events alter column source set default 'user';
alter table forecasting.events alter column note set default '';
alter table forecasting.events alter column is_break set default false;

-- Forecasts depend on events, so a change of events is a change of what forecasts are made from.
create or replace function forecasting.count_event_change() returns trigger language plpgsql as $$
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

drop trigger if exists count_inserted on forecasting.events;
create trigger count_inserted after insert on forecasting.events
referencing new table as changed for each statement execute function forecasting.count_event_change();
drop trigger if exists count_updated on forecasting.events;
create trigger count_updated after update on forecasting.events
referencing new table as changed for each statement execute function forecasting.count_event_change();
drop trigger if exists count_deleted on forecasting.events;
create trigger count_deleted after delete on forecasting.events
referencing old table as changed for each statement execute function forecasting.count_event_change();
drop trigger if exists count_truncated on forecasting.events;
create trigger count_truncated after truncate on forecasting.events
for each statement execute function forecasting.count_event_change();

update forecasting.schema_version set number = 8 where number < 8;
