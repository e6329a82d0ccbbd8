-- What was read stays when the source no longer has it, and daily totals are compared by hashes of blocks of days.
alter table forecasting.metrics add column if not exists gone_at timestamp with time zone; -- NULL: the source has it

-- Daily totals in blocks of 28 days, as they were when they were last read. A block is read again if a hash differs.
create table if not exists forecasting.blocks (
    source text,
    key text, -- the site's key in the source
    first_day date, -- counted from 1970-01-01
    source_hash bigint not null, -- of what the source had; 0: nothing any more
    own_hash bigint not null, -- of the values in forecasting.daily
    num_kept integer not null, -- days with values that the source no longer had
    kept_first date,
    kept_last date,
    primary key (source, key, first_day)
);

-- Changes of forecasting.daily by others than the updates of this program: their hashes must be checked.
alter table forecasting.revision add column if not exists num_foreign bigint not null default 0;
alter table forecasting.revision add column if not exists num_checked bigint not null default 0; -- of the foreign ones

create or replace function forecasting.count_revision() returns trigger language plpgsql as $$
begin
    if tg_op <> 'TRUNCATE' then -- which has no transition table
        if not exists (select from changed) then
            return null;
        end if;
    end if;
    update forecasting.revision
    set number = number + 1,
        num_foreign = num_foreign + (current_setting('forecasting.is_update', true) is distinct from 'on')::integer;
    return null;
end
$$;

update forecasting.schema_version set number = 5 where number < 5;
