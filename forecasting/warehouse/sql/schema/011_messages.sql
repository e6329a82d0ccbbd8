-- What people are told: of unusual days, of days that do not come and sites that are gone, and a summary of each week.
create table if not exists forecasting.messages (
    id bigint generated always as identity primary key,
    kind text not null, -- unusual, trouble or weekly
    cause text not null, -- what it is about
    day date not null, -- that it is about
    sites text[] not null,
    metrics text[] not null,
    direction text, -- high or low; NULL: neither
    severity text not null, -- minor, major or extreme
    title text not null,
    body text not null,
    written_at timestamp with time zone not null default now(),
    addressed_at timestamp with time zone, -- since then it has its deliveries; NULL: nobody to tell is known yet
    unique (cause, day) -- nobody is told the same twice a day
);

-- A message on its way to one address of ALERT_URLS or ALERT_WEBHOOK, which are known here by their names alone.
create table if not exists forecasting.deliveries (
    message_id bigint references forecasting.messages on delete cascade,
    address text,
    status text not null default 'waiting', -- then sent or failed
    num_attempts integer not null default 0,
    due_at timestamp with time zone not null, -- of the next attempt
    began_at timestamp with time zone, -- of the attempt under way; if nobody has locked the row, it was cut off
    ended_at timestamp with time zone, -- of the last attempt
    is_unsure boolean not null default false, -- an attempt was cut off, and may have arrived
    answer text not null default '', -- why the last attempt failed
    primary key (message_id, address)
);
create index if not exists deliveries_waiting on forecasting.deliveries (address, due_at) where status = 'waiting';

-- What was found wrong, and was told: that it began, and that it is over.
create table if not exists forecasting.conditions (
    cause text primary key,
    began_at timestamp with time zone not null default now(),
    ended_at timestamp with time zone -- NULL: it goes on
);

-- The message that tells of an unusual day. NULL: none yet, if it is to be told; 0: told before there were messages.
alter table forecasting.anomalies add column if not exists message_id bigint;

-- What is known already is no news.
do $$
begin
    if (select number from forecasting.schema_version) < 11 then
        update forecasting.anomalies set message_id = 0 where told_at is not null;
        insert into forecasting.conditions (cause)
        select concat_ws('/', 'gone', source, key) from forecasting.sites where gone_at is not null
        union
        select concat_ws('/', 'renamed', source, key, alias) from forecasting.sites, unnest(aliases) as alias
        on conflict do nothing;
    end if;
end
$$;

update forecasting.schema_version set number = 11 where number < 11;
